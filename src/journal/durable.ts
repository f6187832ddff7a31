import type { Journal, JournalBatch, Losses, Position, RecordMeta } from './journal.js';
import type { JournalOptions } from './options.js';
import { JournalReader } from './reader.js';
import { type DisklessOptions, JournalWriter } from './writer.js';

/**
 * Opens the journal in `options.dir` and goes on with what it holds. Takes milliseconds whatever its size: only the
 * last segment is read. Throws `JournalError` when the folder cannot be used, or the file system's error.
 */
export function openJournal(options: JournalOptions): Journal {
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
class DurableJournal implements Journal {
  readonly #writer: JournalWriter;
  readonly #reader: JournalReader;

  constructor(options: JournalOptions) {
    this.#writer = new JournalWriter(options);
    this.#reader = new JournalReader(options.dir, this.#writer.shared);
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
    return this.#reader.confirmed;
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
    return this.#reader.losses;
  }

  flush(): void {
    this.#writer.flush();
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
