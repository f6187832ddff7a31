/** Number of a record in its journal: 0, 1, 2 …; goes on across restarts. */
export type Position = number;

/** A run of records, in order. */
export interface JournalBatch {
  /** UTF-8 of each record as it was appended. */
  readonly records: readonly Buffer[];
  /** What was appended with each record. */
  readonly metas: readonly RecordMeta[];
  readonly start: Position;
  /** Position after the last record. */
  readonly end: Position;
  readonly bytes: number;
}

/** What is written beside a record so that nobody has to parse it. */
export interface RecordMeta {
  /** Index into `EVENT_KINDS` of the dispatcher; counted by kind when lost. */
  readonly kind: number;
  /** 32-bit hash of engine and task id; 0 for events that are not about a task. */
  readonly task: number;
}

/** What was lost before it was confirmed, since the journal was made. */
export interface Losses {
  readonly records: number;
  readonly byKind: ReadonlyMap<number, number>;
}

/** Append-only log of canonical texts: the one buffer between the host and the brain. */
export interface Journal {
  /** Never throws, never waits; written at the end of this turn of the event loop. */
  append(record: string, meta: RecordMeta): void;
  /**
   * The records from `start` on, as many as fit (at least one); undefined when there is none. A `start` that was
   * evicted is moved forward to the oldest record that is left.
   */
  read(start: Position, limit: { readonly records: number; readonly bytes: number }): JournalBatch | undefined;
  /** Everything before `end` has arrived. Survives a crash soon after, not at once: what it forgets is sent again. */
  confirm(end: Position): void;
  readonly confirmed: Position;
  /** Position the next record will get. */
  readonly end: Position;
  readonly size: { readonly records: number; readonly bytes: number };
  /** Milliseconds since the epoch at which the oldest unconfirmed record was appended. */
  readonly oldestAt: number | undefined;
  readonly losses: Losses;
  /** At most once a turn, after a write. One listener. */
  onAppend: (() => void) | undefined;
  /** Writes what is pending, synchronously; for process exit. */
  flush(): void;
  close(): void;
}
