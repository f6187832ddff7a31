import { agendaPatch } from '../../instrumentations/agenda/patch.js';
import { bullmqPatch } from '../../instrumentations/bullmq/patch.js';
import { nodeCronPatch } from '../../instrumentations/node-cron/patch.js';
import { hub } from '../hub.js';

const PATCHES = [bullmqPatch, agendaPatch, nodeCronPatch];

const EYE = 'instrument';

export interface InstrumentOptions {
  /** Name of the package; needed only where the shape of the exports does not tell. */
  readonly package?: string | undefined;
  /** Its version; without it the shape alone decides whether it is supported. */
  readonly version?: string | undefined;
}

/** What was given to `instrument` is no library that can be observed. */
export class InstrumentError extends Error {
  override readonly name = 'InstrumentError';
  readonly code = 'Z4J_INSTRUMENT';
}

/**
 * Observes a library that no loader can see, because it was bundled or loaded before the agent:
 *
 *     import * as bullmq from 'bullmq';
 *     instrument(bullmq);
 *
 * Takes the exports of the library: a namespace, or what `require` returned. Any number of times for the same library.
 * Returns whether it is observed now; functions that were destructured from a CommonJS library before are not reached.
 * Throws `InstrumentError` when the package is none of those that can be observed.
 */
export function instrument(library: unknown, options: InstrumentOptions = {}): boolean {
  const { package: name, version = 'unknown' } = options;
  const candidates = name === undefined ? PATCHES : PATCHES.filter(({ packages }) => packages.includes(name));
  if (candidates.length === 0) {
    const known = PATCHES.flatMap(({ packages }) => packages).join(', ');
    throw new InstrumentError(`Expected \`package\` to be one of ${known}, got \`${name}\``);
  }
  for (const patch of candidates) {
    const { engine } = patch;
    const module = { package: name ?? engine, version, file: name ?? engine };
    // Without a name every patch is asked: that most of them do not know the library is no news.
    const outcome = hub.offer(patch, library, { ...module, inner: name === undefined }, EYE);
    if (outcome !== 'patched') continue;
    hub.report({ ...module, engine, eye: EYE, outcome });
    return true;
  }
  return false;
}
