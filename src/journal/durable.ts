import type { Journal, JournalBatch, Losses, Position, RecordMeta } from './journal.js';
import type { JournalOptions } from './options.js';
import { damageText, JournalReader } from './reader.js';
import { type DisklessOptions, type JournalHandle, JournalWriter } from './writer.js';

/** A journal that another thread of the process may read instead of this one. */
export interface LendableJournal extends Journal {
  /** For `openJournalReader` in that thread, one at a time. While it lives nothing may be read or confirmed here. */
  lend(): JournalHandle;
  /** Deletes what the other thread has confirmed; happens with every write, too. */
  sweep(): void;
}

export const isLendable = (journal: Journal): journal is LendableJournal => 'lend' in journal;

/**
 * Opens the journal in `options.dir` and goes on with what it holds. Takes milliseconds whatever its size: only the
 * last segment is read. Throws `JournalError` when the folder cannot be used, or the file system's error. With
 * `dir: null` there is no disk: all is in memory.
 */
export function openJournal(options: JournalOptions | DisklessOptions): LendableJournal {
  return new DurableJournal(options);
}

/**
 * Opens the writing side alone; `connect()` gives what `openJournalReader` needs in another thread. With `dir: null`
 * there is no disk: records are sent to the reader, and kept in memory until it confirms them.
 */
export function openJournalWriter(options: JournalOptions | DisklessOptions): JournalWriter {
  return new JournalWriter(options);
}

/** Both sides of a journal in one thread. */
class DurableJournal implements LendableJournal {
  readonly #dir: string | null;
  readonly #writer: JournalWriter;
  /** Undefined while another thread reads. */
  #own: JournalReader | undefined;

  constructor(options: JournalOptions | DisklessOptions) {
    this.#dir = options.dir;
    this.#writer = new JournalWriter(options);
    this.#own = this.#open();
  }

  get #reader(): JournalReader {
    this.#own ??= this.#open();
    return this.#own;
  }

  #open(): JournalReader {
    const onDamage = (records: number): void => this.#writer.note('damaged', damageText(records));
    return new JournalReader({ dir: this.#dir, shared: this.#writer.shared, onDamage });
  }

  get onAppend(): (() => void) | undefined {
    return this.#writer.onWrite;
  }
  set onAppend(listener: (() => void) | undefined) {
    this.#writer.onWrite = listener;
  }

  append(record: string, meta: RecordMeta): void {
    this.#writer.append(record, meta);
  }

  read(start: Position, limit: { readonly records: number; readonly bytes: number }): JournalBatch | undefined {
    const written = this.#readWritten(start, limit);
    if (written !== undefined || !this.#writer.pending) return written;
    this.#writer.flush();
    return this.#readWritten(start, limit);
  }

  confirm(end: Position): void {
    this.#reader.confirm(Math.min(end, this.end));
    this.#writer.sweep();
  }

  get confirmed(): Position {
    const { confirmed, floor } = this.#writer.shared;
    return Math.max(confirmed, floor);
  }

  get end(): Position {
    return this.#writer.end;
  }

  get size(): { records: number; bytes: number } {
    const records = Math.max(0, this.end - this.confirmed);
    return { records, bytes: records === 0 ? 0 : this.#writer.bytes };
  }

  get oldestAt(): number | undefined {
    return this.size.records === 0 ? undefined : (this.#reader.oldestAt ?? this.#writer.oldestInMemory);
  }

  get losses(): Losses {
    return this.#writer.shared.losses;
  }

  flush(): void {
    this.#writer.flush();
  }

  lend(): JournalHandle {
    this.#own?.close();
    this.#own = undefined;
    return this.#writer.connect();
  }

  sweep(): void {
    this.#writer.sweep();
  }

  close(): void {
    this.#writer.flush();
    this.#reader.close();
    this.#writer.close();
  }

  #readWritten(start: Position, limit: { readonly records: number; readonly bytes: number }): JournalBatch | undefined {
    const from = Math.max(start, this.confirmed);
    return this.#reader.read(from, limit) ?? this.#writer.readMemory(from, limit);
  }
}
