import type { Losses } from './journal.js';

/** Kinds are 0 … 62; what is beyond, or can no longer be read, is counted as the last. */
export const KINDS = 64;
export const UNKNOWN_KIND = KINDS - 1;

/** Counts records that were lost before they were confirmed. */
export class LossCounter implements Losses {
  records = 0;
  readonly byKind = new Map<number, number>();

  add(kind: number, records = 1): void {
    if (records <= 0) return;
    this.records += records;
    this.byKind.set(kind, (this.byKind.get(kind) ?? 0) + records);
  }

  /** A copy that does not change any more. */
  snapshot(): Losses {
    return { records: this.records, byKind: new Map(this.byKind) };
  }
}

/** `counts` has a number for every kind. */
export function count(counts: Uint32Array, kind: number, records = 1): void {
  counts[kind] = (counts[kind] ?? 0) + records;
}
