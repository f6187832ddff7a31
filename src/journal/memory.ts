import type { Journal, JournalBatch, Losses, Position, RecordMeta } from './journal.js';
import { LossCounter } from './losses.js';

export interface MemoryJournalOptions {
  /** Bytes of text kept at most; the oldest records go first. */
  readonly maxBytes: number;
  /** Position of the first record. */
  readonly start?: Position;
}

interface Entry {
  readonly text: Buffer;
  readonly meta: RecordMeta;
  readonly at: number;
}

/** Dead entries at the head of the array before it is cut. */
const SLACK = 1024;

/** A journal that dies with its process: for homes that cannot be written, and for tests. */
export function memoryJournal(options: MemoryJournalOptions): Journal {
  return new MemoryJournal(options);
}

class MemoryJournal implements Journal {
  onAppend: (() => void) | undefined;
  readonly #maxBytes: number;
  readonly #losses = new LossCounter();
  #entries: (Entry | undefined)[] = [];
  /** Index of the oldest entry, which has position `#confirmed`. */
  #head = 0;
  #confirmed: Position;
  #bytes = 0;
  #turn: NodeJS.Immediate | undefined;
  #closed = false;

  constructor({ maxBytes, start = 0 }: MemoryJournalOptions) {
    this.#maxBytes = maxBytes;
    this.#confirmed = start;
  }

  append(record: string, meta: RecordMeta): void {
    if (this.#closed) return;
    const text = Buffer.from(record);
    if (text.length > this.#maxBytes) {
      this.#losses.add(meta.kind);
      return;
    }
    this.#entries.push({ text, meta, at: Date.now() });
    this.#bytes += text.length;
    while (this.#bytes > this.#maxBytes) this.#losses.add(this.#shift().meta.kind);
    // Not unref'ed: an unref'ed immediate waits for the next I/O event. It keeps the process for this one turn only.
    this.#turn ??= setImmediate(this.#onTurn);
  }

  read(start: Position, limit: { readonly records: number; readonly bytes: number }): JournalBatch | undefined {
    const first = Math.max(start, this.#confirmed);
    const records: Buffer[] = [];
    const metas: RecordMeta[] = [];
    let bytes = 0;
    for (let index = this.#head + first - this.#confirmed; index < this.#entries.length; index++) {
      const { text, meta } = this.#entries[index] as Entry;
      if (records.length > 0 && (records.length >= limit.records || bytes + text.length > limit.bytes)) break;
      records.push(text);
      metas.push(meta);
      bytes += text.length;
    }
    return records.length === 0 ? undefined : { records, metas, start: first, end: first + records.length, bytes };
  }

  confirm(end: Position): void {
    const upTo = Math.min(end, this.end);
    while (this.#confirmed < upTo) this.#shift();
  }

  get confirmed(): Position {
    return this.#confirmed;
  }

  get end(): Position {
    return this.#confirmed + this.#entries.length - this.#head;
  }

  get size(): { records: number; bytes: number } {
    return { records: this.#entries.length - this.#head, bytes: this.#bytes };
  }

  get oldestAt(): number | undefined {
    return this.#entries[this.#head]?.at;
  }

  get losses(): Losses {
    return this.#losses.snapshot();
  }

  flush(): void {}

  close(): void {
    this.#closed = true;
    clearImmediate(this.#turn);
  }

  readonly #onTurn = (): void => {
    this.#turn = undefined;
    this.onAppend?.();
  };

  #shift(): Entry {
    const entry = this.#entries[this.#head] as Entry;
    this.#entries[this.#head++] = undefined;
    this.#confirmed++;
    this.#bytes -= entry.text.length;
    if (this.#head > SLACK && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return entry;
  }
}
