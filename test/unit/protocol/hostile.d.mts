import type * as protocol from '../../../src/protocol/index.js';

export interface FuzzReport {
  readonly frames: number;
  readonly accepted: number;
  /** Refused frames by `ProtocolError` code. */
  readonly refused: { readonly [code: string]: number };
  /** Milliseconds of the slowest single read. */
  readonly slowest: number;
}

/** Random numbers below 1 that depend on the seed only. */
export function random(seed: number): () => number;

/** Feeds hostile frames to a reader; throws on the first one that is not answered as it must be. */
export function fuzz(api: typeof protocol, options: { readonly seed: number; readonly frames: number }): FuzzReport;
