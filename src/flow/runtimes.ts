/** Of the runtimes of a name, so many are below "slow". */
const QUANTILE = 0.97;
/** How far the estimate moves at first and in the long run, as a power of e. */
const FIRST_STEP = 0.5;
const LAST_STEP = 0.03;
const MAX_NAMES = 1000;

interface Estimate {
  /** Logarithm of the runtime that `QUANTILE` of all are below. */
  level: number;
  step: number;
}

/** Knows which successes are remarkable: the first of a name, and the slowest few percent of each name. */
export class Runtimes {
  readonly #names = new Map<string, Estimate>();

  /** Takes one runtime in milliseconds into account; names beyond a thousand are never remarkable. */
  isRemarkable(name: string, runtimeMs: number): boolean {
    const level = Math.log(Math.max(runtimeMs, 1));
    const known = this.#names.get(name);
    if (known === undefined) {
      if (this.#names.size >= MAX_NAMES) return false;
      this.#names.set(name, { level, step: FIRST_STEP });
      return true;
    }
    const slow = level > known.level;
    known.level += known.step * (slow ? QUANTILE : QUANTILE - 1);
    known.step = Math.max(known.step * 0.99, LAST_STEP);
    return slow;
  }

  clear(): void {
    this.#names.clear();
  }
}
