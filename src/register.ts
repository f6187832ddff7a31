import { createRequire } from 'node:module';
import type { TaskEvent } from './engine.js';
import { hub } from './hub.js';
import { observe } from './loading/observe.js';
import { selection } from './loading/selection.js';
import { createLog, type Log, type LogLevel } from './log.js';
// Has to load before the host enters an asynchronous context of its own.
import './quiet.js';

const { env } = process;

const LEVELS: readonly string[] = ['silent', 'error', 'warn', 'info', 'debug'];

function logOfEnvironment(): Log {
  const level = env.Z4J_LOG_LEVEL?.toLowerCase() ?? '';
  return createLog({
    ...(LEVELS.includes(level) ? { level: level as LogLevel } : {}),
    ...(env.Z4J_LOG_FORMAT?.toLowerCase() === 'json' ? { format: 'json' } : {}),
  });
}

const isOff = (): boolean =>
  !(env.Z4J_TOKEN || env.Z4J_TOKEN_FILE) || /^(1|true|yes|on)$/i.test(env.Z4J_DISABLED ?? '');

const PENDING = 10_000;

/** Keeps events until the agent has loaded; what it returns gives the place free, what that returns hands them over. */
function hold(): () => () => void {
  const events: TaskEvent[] = [];
  hub.recorder = {
    record: (event) => {
      if (events.length < PENDING) events.push(event);
    },
    engine: () => undefined,
  };
  return () => {
    hub.recorder = undefined;
    return () => {
      for (const event of events) hub.record(event);
    };
  };
}

interface Autostart {
  /** Reads the configuration and sets `hub.recorder`; connects when an engine is live. */
  autostart(): void;
}

/** Where modules of the application have loaded already, it may be linking some that the agent needs as well. */
function start(late: boolean, failed: (error: unknown) => void): void {
  if (!late) {
    let agent: Autostart | undefined;
    try {
      agent = createRequire(import.meta.url)('./autostart.js') as Autostart;
    } catch {
      // As in loading/door.ts: it is linking them.
    }
    if (agent !== undefined) {
      agent.autostart();
      return;
    }
  }
  const release = hold();
  const path = './autostart.js';
  import(path)
    .then(({ autostart }: Autostart) => {
      const replay = release();
      autostart();
      replay();
    })
    .catch((error: unknown) => {
      release();
      failed(error);
    });
}

/** Otherwise the application itself imports it, after other modules of its own. */
const isPreload = (): boolean => /z4j|register/.test([...process.execArgv, env.NODE_OPTIONS].join());

/**
 * Installs the eyes of this thread and waits. The environment is read when the first target loads (PM2 completes it
 * late); the agent starts with the first patched entry module or the first live engine, whichever comes first.
 */
export function register(): void {
  const log = logOfEnvironment();
  const failed = (error: unknown): void => {
    log.once('start', 'error', `the agent did not start: ${error instanceof Error ? error.message : String(error)}`);
  };
  const late = !isPreload();
  let started = false;
  const startOnce = (): void => {
    if (started) return;
    started = true;
    try {
      start(late, failed);
    } catch (error) {
      failed(error);
    }
  };
  hub.enabled = (engine) => {
    hub.enabled = isOff() ? () => false : selection(env, log);
    return hub.enabled(engine);
  };
  hub.onLive = startOnce;
  void observe(log, { onPatched: startOnce, late });
}
