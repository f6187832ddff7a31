import { ProtocolError } from './errors.js';
import { parseInstant } from './time.js';

const MAX_SKEW_MS = 60_000;
const NONCE_MEMORY_MS = 180_000;
const NONCE_MEMORY = 4096;

export interface Freshness {
  readonly seq: unknown;
  readonly ts: unknown;
  readonly nonce: unknown;
}

/** Refuses what was seen before or is too old; one per connection and direction (protocol.md §3). */
export class ReplayGuard {
  #seq = 0;
  /** Oldest first. */
  readonly #nonces = new Map<string, number>();

  /** Takes a frame whose signature is right, or throws `ProtocolError` `replay` and remembers nothing of it. */
  accept({ seq, ts, nonce }: Freshness, nowMs: number): void {
    if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || seq <= this.#seq) {
      throw new ProtocolError('replay', `Expected \`seq\` to be an integer above ${this.#seq}`);
    }
    const instant = typeof ts === 'string' ? parseInstant(ts) : undefined;
    if (instant === undefined) throw new ProtocolError('replay', 'Expected `ts` to be a time with an offset');
    const skew = instant.ms - nowMs;
    if (!(Math.abs(skew) <= MAX_SKEW_MS)) {
      throw new ProtocolError(
        'replay',
        `Expected \`ts\` within 60 s of the local clock, got ${Math.round(skew / 1000)} s: set the clocks of both hosts`,
      );
    }
    if (typeof nonce !== 'string' || nonce.length === 0 || nonce.length > 64) {
      throw new ProtocolError('replay', 'Expected `nonce` to be a text of 1 to 64 characters');
    }
    for (const [old, at] of this.#nonces) {
      if (nowMs - at <= NONCE_MEMORY_MS && this.#nonces.size < NONCE_MEMORY) break;
      this.#nonces.delete(old);
    }
    if (this.#nonces.has(nonce)) throw new ProtocolError('replay', 'Expected a `nonce` that was not used before');
    this.#nonces.set(nonce, nowMs);
    this.#seq = seq;
  }
}
