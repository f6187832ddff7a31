import { BACKOFF, type CloseReaction } from '../protocol/index.js';

export interface BackoffOptions {
  /** Multiplies every wait; tests use a small one. Default 1. */
  readonly scale?: number;
  /** Number from 0 to 1; default Math.random. */
  readonly random?: () => number;
}

/** How long to wait before the next attempt: one counter per class of failure, doubled up to its maximum. */
export class Backoff {
  readonly #scale: number;
  readonly #random: () => number;
  readonly #failures = new Map<CloseReaction, number>();

  constructor({ scale = 1, random = Math.random }: BackoffOptions = {}) {
    this.#scale = scale;
    this.#random = random;
  }

  /** Milliseconds to wait after one more failure of this class, with up to 30 % added so that a fleet spreads. */
  next(reaction: CloseReaction): number {
    const { first, max } = BACKOFF[reaction];
    const failures = this.streak(reaction);
    this.#failures.set(reaction, failures + 1);
    return Math.min(first * 2 ** failures, max) * (1 + 0.3 * this.#random()) * this.#scale;
  }

  /** Failures of this class since the last success. */
  streak(reaction: CloseReaction): number {
    return this.#failures.get(reaction) ?? 0;
  }

  /** A connection proved to work. */
  reset(): void {
    this.#failures.clear();
  }
}
