import type { Standing } from '../link/index.js';

/** Once a window. */
export interface Judgement {
  /** Events captured per second. */
  readonly made: number;
  /** Events per second to be dealt with: those captured, or what waits where that is too much. */
  readonly load: number;
  /** It has begun, or is over, in this window. */
  readonly turn: 'begun' | 'over' | undefined;
}

export const WINDOW_MS = 3000;
/** So many windows in a row make a while. */
const WHILE = 3;
/** Work waiting, in seconds of the brain's time. */
const TOO_MUCH = 30;
/** Of what the brain takes; below it, all is well. */
const CALM = 0.8;
/** Age of what is sent that is aimed at, in seconds: the shorter, the fewer tasks have ended when they are read. */
const AIM = 3;

/** Tells a brain that takes less than is made from one that is away, or catching up. Pure. */
export class Pressure {
  /** More is made than the brain takes. */
  high = false;
  readonly #windowMs: number;
  #from: { readonly at: number; readonly end: number; readonly acked: number } | undefined;
  #windows = 0;
  /** The connection ended while pressure was high. */
  #doubtful = false;

  constructor(windowMs = WINDOW_MS) {
    this.#windowMs = windowMs;
  }

  /** Undefined between two windows. */
  judge({ now, end, backlog, acked, rate }: Standing): Judgement | undefined {
    const from = this.#from;
    if (from !== undefined && now - from.at < this.#windowMs) return undefined;
    this.#from = { at: now, end, acked };
    if (from === undefined || rate === undefined) return undefined;
    const seconds = (now - from.at) / 1000;
    const made = (end - from.end) / seconds;
    const taken = (acked - from.acked) / seconds;
    const load = Math.max(made, backlog / AIM);
    const judged = (turn: Judgement['turn']): Judgement => ({ made, load, turn });
    if (this.high) {
      this.#windows = load < rate * CALM ? this.#windows + 1 : 0;
      // Most of what waits may be of the time without a connection, which is no reason to leave anything out.
      const over = this.#windows >= WHILE || (this.#doubtful && made < rate);
      this.#doubtful = false;
      return judged(over ? this.#turn() : undefined);
    }
    if (made <= taken) this.#windows = 0;
    // Without an ack the brain is away, which says nothing.
    else if (taken > 0) this.#windows++;
    return judged(this.#windows >= WHILE && backlog >= rate * TOO_MUCH ? this.#turn() : undefined);
  }

  #turn(): 'begun' | 'over' {
    this.#windows = 0;
    this.high = !this.high;
    return this.high ? 'begun' : 'over';
  }

  /** The connection ended: what is seen from here on has nothing to do with what was seen before. */
  interrupt(): void {
    this.#from = undefined;
    this.#windows = 0;
    this.#doubtful = this.high;
  }
}
