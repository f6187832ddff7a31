/**
 * How much of a task outside the share is left out:
 *
 * - `successes`: all of it when it succeeded and this process has told nothing of it; where another process may have
 *   told of its beginning, its end is sent;
 * - `endings`: that end, too;
 * - `waiting`: beginnings of tasks that have not ended yet, too. Only when these alone are more than the brain takes.
 */
export const DEPTHS = ['successes', 'endings', 'waiting'] as const;
export type Depth = (typeof DEPTHS)[number];

/** What is told of which tasks. */
export interface Plan {
  /** Of the tasks that may be left out, the part that is sent whole. */
  readonly share: number;
  readonly depth: Depth;
}

/** What records are, as parts of all that is captured; the rest is log-only. */
export interface Parts {
  /** Of tasks that are always sent, or about no task. */
  readonly always: number;
  /** Of tasks that have not ended. */
  readonly waiting: number;
  /** Ends of tasks that another process may have told of. */
  readonly ending: number;
  /** All else of tasks that succeeded. */
  readonly success: number;
}

/** Even when nothing fits, a brain should see that there are successes. */
const LEAST = 0.005;
/** Below it, it is better to leave out more of each task. */
const WORTHWHILE = 0.05;

/** The plan by which, of `load` captured events per second, at most `rate` are sent. `fixed`: the share to be had. */
export function plan(load: number, rate: number, parts: Parts, fixed?: number): Plan {
  const all = parts.always + parts.waiting + parts.ending + parts.success;
  const sure = {
    successes: parts.always + parts.waiting + parts.ending,
    endings: parts.always + parts.waiting,
    waiting: parts.always,
  };
  let found: Plan = { share: 1, depth: 'successes' };
  for (const depth of DEPTHS) {
    const optional = (all - sure[depth]) * load;
    const left = rate - sure[depth] * load;
    const share = optional > 0 ? left / optional : left < 0 ? 0 : 1;
    found = { share: fixed ?? Math.min(Math.max(share, LEAST), 1), depth };
    if (share >= (fixed ?? WORTHWHILE)) break;
  }
  return found;
}
