import type { Lease } from './lease.js';
import type { ScheduleStream } from './stream.js';

/** A stream that another process may have, and what that one says of itself. */
export interface Candidate {
  readonly stream: ScheduleStream;
  readonly lease: Lease;
}

export interface StandbyOptions {
  readonly candidates: () => Iterable<Candidate>;
  /** Default 300 000 ms. */
  readonly retryMs?: number | undefined;
  /** Default 5000 ms. */
  readonly lookMs?: number | undefined;
  /** A new connection is made for these. `isDue`: not because one of them is free, but because it is time to ask. */
  readonly takeOver: (idle: readonly Candidate[], isDue: boolean) => void;
}

/** Where nobody says who publishes, as with processes on several hosts that have no broker. */
const BLIND_MS = 120_000;
/**
 * A brain that was killed over an operation keeps its stream from everybody until the operation has timed out (60 s),
 * and then gives it to the next hello of the process that had it.
 */
const RECOVERY_MS = 65_000;

/**
 * Whoever publishes a stream may go without anybody being asked to go on: looks for streams that have become free,
 * and asks for all now and then.
 */
export class Standby {
  readonly #options: StandbyOptions;
  #timer: NodeJS.Timeout | undefined;
  /** Connections in a row that were made to take over and did not. */
  #attempts = 0;

  constructor(options: StandbyOptions) {
    this.#options = options;
  }

  /** A connection is up. `isMissed`: a stream that this process had was not given to it. */
  start(isMissed: boolean): void {
    this.stop();
    const { candidates, retryMs = 300_000, lookMs = 5000, takeOver } = this.#options;
    const share = 1 + Math.random() / 2;
    const since = Date.now();
    const spare = isMissed ? Math.min(retryMs, RECOVERY_MS) : retryMs * share;
    const blind = Math.min(spare, BLIND_MS * share);
    // Each time that a look misled makes the next one believed later.
    const believed = Math.min(lookMs * (2 ** this.#attempts - 1), retryMs);
    const look = async (timer: NodeJS.Timeout | undefined): Promise<void> => {
      const idle = [...candidates()].filter(
        ({ stream: { active, scheduler } }) => !active && scheduler.serves?.() !== false,
      );
      const standings = await Promise.all(idle.map(({ lease }) => lease.look()));
      if (this.#timer !== timer) return;
      const waited = Date.now() - since;
      const isDue = waited >= (standings.includes('unknown') ? blind : spare);
      if (idle.length > 0 && (isDue || (standings.includes('free') && waited >= believed))) {
        this.#attempts += 1;
        takeOver(idle, isDue);
      } else again();
    };
    const again = (): void => {
      // Not all at once: the first one that sees it takes over, and says so.
      const timer = setTimeout(() => void look(timer), Math.min(spare, lookMs) * (0.5 + Math.random()));
      timer.unref();
      this.#timer = timer;
    };
    again();
  }

  /** A stream was given to this process. */
  succeeded(): void {
    this.#attempts = 0;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
