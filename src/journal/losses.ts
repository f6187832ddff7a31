import type { Losses } from './journal.js';

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

/** Kind under which records are counted whose kind cannot be read any more. */
export const UNKNOWN_KIND = 255;
