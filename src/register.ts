import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers';
import type { TaskEvent } from './engine.js';
import { hub, type TargetReport } from './hub.js';
// Has to load before the host enters an asynchronous context of its own.
import './link/quiet.js';
import { observeCompile } from './loading/compile.js';
import { loaded, see } from './loading/door.js';
import { openOtherEyes } from './loading/eyes.js';
import { installHooks } from './loading/hooks.js';
import { selection } from './loading/selection.js';
import { seeLater, sweep } from './loading/sweep.js';
import { createLog, type Log, type LogLevel } from './log.js';

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

function tell({ engine, package: name, version, file, eye, outcome, error }: TargetReport, log: Log): void {
  const what = `${name} ${version}`;
  if (outcome === 'failed') {
    const reason = error instanceof Error ? error.message : String(error);
    log.once(
      `failed ${engine}`,
      'error',
      `${what} is not observed: its patch failed: ${reason}. Please report this, or set Z4J_DISABLED_INSTRUMENTATIONS=${engine}`,
    );
  } else if (outcome === 'unsupported version' || outcome === 'shape not recognised') {
    log.once(
      `${outcome} ${what}`,
      'warn',
      `${what} is not observed: ${outcome}; see "Supported versions" in the README of @z4j/bare`,
    );
  }
  log.debug(`${what} ${outcome} (${eye}, ${file})`);
}

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

function start(failed: (error: unknown) => void): void {
  let agent: Autostart;
  try {
    agent = createRequire(import.meta.url)('./autostart.js') as Autostart;
  } catch {
    // As in loading/door.ts: the application may be linking it.
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
    return;
  }
  agent.autostart();
}

/**
 * Installs the eyes of this thread and waits. The environment is read when the first target loads (PM2 completes it
 * late); the agent starts with the first patched entry module or the first live engine, whichever comes first.
 */
export function register(): void {
  const log = logOfEnvironment();
  const failed = (error: unknown): void => {
    log.once('start', 'error', `the agent did not start: ${error instanceof Error ? error.message : String(error)}`);
  };
  let started = false;
  const startOnce = (): void => {
    if (started) return;
    started = true;
    try {
      start(failed);
    } catch (error) {
      failed(error);
    }
  };
  hub.enabled = (engine) => {
    hub.enabled = isOff() ? () => false : selection(env, log);
    return hub.enabled(engine);
  };
  hub.onTarget = (report) => {
    tell(report, log);
    if (report.outcome === 'patched' && !report.inner) startOnce();
  };
  hub.onLive = startOnce;
  hub.loaded = loaded;

  const isOutermost = observeCompile((file, exports) => see(file, exports, 'compile'));
  try {
    installHooks(seeLater);
  } catch (error) {
    log.once(
      'hooks',
      'warn',
      `libraries that are ES modules are not observed: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  sweep();
  // Somebody later may replace the compiler, with or without calling what was there.
  let isBlind = false;
  for (const delayMs of [0, 1000]) {
    setTimeout(() => {
      if (isBlind || isOutermost()) return;
      isBlind = true;
      sweep();
      try {
        openOtherEyes();
      } catch (error) {
        log.debug(`require-in-the-middle and import-in-the-middle stay off: ${String(error)}`);
      }
    }, delayMs).unref();
  }
}
