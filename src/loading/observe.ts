import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers';
import { hub, isSupported, type TargetReport } from '../hub.js';
import type { Log } from '../log.js';
import { observeCompile } from './compile.js';
import { loaded, see } from './door.js';
import { openOtherEyes } from './eyes.js';
import { installHooks } from './hooks.js';
import { seeLater, sweep } from './sweep.js';
import { TARGETS } from './targets.js';

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

/** Whether the eyes of this thread are open, whichever copy of this package opened them. */
export const isObserving = (): boolean => hub.loaded !== undefined;

async function lookBack(log: Log): Promise<void> {
  const tellEarlier = (library: string, missed: string): void => {
    log.once(
      `earlier ${library}`,
      'warn',
      `${library} was loaded before the agent: ${missed} are not observed. ` +
        'Start Node with --import @z4j/bare/register, or import it after the agent has started',
    );
  };
  for (const { package: name, version, outcome } of hub.targets) {
    const forgetful = TARGETS.find((target) => target.package === name)?.forgetful ?? [];
    if (outcome === 'patched' && forgetful.some((range) => isSupported(version, range)))
      tellEarlier(`${name} ${version}`, 'schedules made before it');
  }
  // Required: while an import() is under way, Node 20 refuses to require the patch of a library that loads now.
  const { seeEarlier } = createRequire(import.meta.url)('./earlier.js') as typeof import('./earlier.js');
  await seeEarlier((library) => tellEarlier(library, 'functions imported from it by name'));
}

export interface Observation {
  /** Called with each entry module that was patched. */
  readonly onPatched?: () => void;
  /** Modules of the application may have loaded before. */
  readonly late?: boolean;
}

/**
 * Opens the eyes of this thread: libraries are patched as they load, and those that were loaded already where they can
 * be reached, which the promise waits for. Never rejects.
 */
export function observe(log: Log, { onPatched, late = false }: Observation = {}): Promise<void> {
  hub.onTarget = (report) => {
    tell(report, log);
    if (report.outcome === 'patched' && !report.inner) onPatched?.();
  };
  hub.loaded = loaded;

  const isOutermost = observeCompile((file, exports) => see(file, exports, 'compile'));
  installHooks(seeLater, (error) =>
    log.once(
      'hooks',
      'warn',
      `libraries that are ES modules are not observed: ${error instanceof Error ? error.message : String(error)}`,
    ),
  );
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
  if (!late) return Promise.resolve();
  return lookBack(log).catch((error) => log.debug(`what was loaded earlier is not found: ${String(error)}`));
}
