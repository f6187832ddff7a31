import { encodeRecords, kindAt, lengthAt, MAX_TEXT, RECORD_HEADER, taskAt } from './format.js';
import type { Position, RecordMeta } from './journal.js';

/** Encoded records in a row: the first `length` of `bytes`. */
export interface Block {
  readonly bytes: Buffer;
  readonly length: number;
  readonly start: Position;
  readonly records: number;
  /** Milliseconds since the epoch at which they were appended. */
  readonly at: number;
}

const INITIAL = 64 << 10;
/** A turn of the event loop with more is written in several pieces. */
const LARGEST = 1 << 20;

/** Texts that wait to be encoded together. */
const TOGETHER = 32;

/** Collects the records of one turn of the event loop, encoded. */
export class BlockBuilder {
  #bytes = Buffer.allocUnsafeSlow(INITIAL);
  #view = new DataView(this.#bytes.buffer);
  #used = 0;
  #records = 0;
  #at = 0;
  #texts: string[] = [];
  #metas: RecordMeta[] = [];
  /** Bytes that suffice for the records that wait. */
  #wanted = 0;
  /** Position of the next record. */
  #next: Position = 0;

  get records(): number {
    return this.#records;
  }

  /** False when the text does not fit: take the block out first, or, when it is empty, give up. */
  add(text: string, meta: RecordMeta, position: Position): boolean {
    const wanted = RECORD_HEADER + text.length * 3;
    if (this.#used + this.#wanted + wanted > this.#bytes.length || this.#texts.length === TOGETHER) {
      this.#encode();
      if (this.#used + wanted > this.#bytes.length && !this.#grow(text)) return false;
    }
    if (this.#records === 0) this.#at = Date.now();
    this.#texts.push(text);
    this.#metas.push(meta);
    this.#wanted += wanted;
    this.#next = position + 1;
    this.#records++;
    return true;
  }

  /** What was collected, with `end` as the position behind it. Valid until the next `add`; empties the builder. */
  take(end: Position): Block {
    this.#encode();
    const block: Block = {
      bytes: this.#bytes,
      length: this.#used,
      start: end - this.#records,
      records: this.#records,
      at: this.#at,
    };
    if (this.#bytes.length > LARGEST) this.#use(Buffer.allocUnsafeSlow(INITIAL));
    this.#used = 0;
    this.#records = 0;
    return block;
  }

  #encode(): void {
    const texts = this.#texts;
    if (texts.length === 0) return;
    const first = this.#next - texts.length;
    this.#used = encodeRecords(this.#bytes, this.#view, this.#used, texts, this.#metas, first, this.#at);
    this.#texts = [];
    this.#metas = [];
    this.#wanted = 0;
  }

  #grow(text: string): boolean {
    const length = Buffer.byteLength(text);
    const needed = this.#used + RECORD_HEADER + length;
    if (length > MAX_TEXT || (needed > LARGEST && this.#records > 0)) return false;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(LARGEST, this.#bytes.length * 2)));
      this.#bytes.copy(larger, 0, 0, this.#used);
      this.#use(larger);
    }
    return true;
  }

  #use(bytes: Buffer<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

/** A block that stays when the builder goes on. */
export const copyOf = (block: Block): Block => ({
  ...block,
  bytes: Buffer.from(block.bytes.subarray(0, block.length)),
});

/** The records of a block. */
export function* recordsOf({ bytes, length }: Block): Generator<RecordMeta & { readonly text: Buffer }> {
  for (let at = 0; at < length; ) {
    const end = at + RECORD_HEADER + lengthAt(bytes, at);
    yield { kind: kindAt(bytes, at), task: taskAt(bytes, at), text: bytes.subarray(at + RECORD_HEADER, end) };
    at = end;
  }
}

/** Adds the records of a block to `counts`, by kind. */
export function countRecords({ bytes, length }: Block, counts: Uint32Array): void {
  for (let at = 0; at < length; at += RECORD_HEADER + lengthAt(bytes, at)) {
    const kind = kindAt(bytes, at);
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
}
