import { type Block, recordsOf } from './block.js';
import type { JournalBatch, Position, RecordMeta } from './journal.js';

/** The records of a time without a disk: blocks in memory, the oldest dropped over the limit. */
export class Overlay {
  readonly #blocks: Block[] = [];
  readonly #maxBytes: number;
  readonly #onDrop: ((block: Block) => void) | undefined;
  #bytes = 0;

  constructor(maxBytes: number, onDrop?: (block: Block) => void) {
    this.#maxBytes = maxBytes;
    this.#onDrop = onDrop;
  }

  get bytes(): number {
    return this.#bytes;
  }
  get first(): Block | undefined {
    return this.#blocks[0];
  }
  get blocks(): readonly Block[] {
    return this.#blocks;
  }
  /** Position behind the last record; 0 when there is none. */
  get end(): Position {
    const last = this.#blocks.at(-1);
    return last === undefined ? 0 : last.start + last.records;
  }

  /** Keeps a block whose bytes will not change. */
  add(block: Block): void {
    this.#blocks.push(block);
    this.#bytes += block.length;
    for (let first = this.first; this.#bytes > this.#maxBytes && first !== undefined; first = this.first) {
      this.shift();
      this.#onDrop?.(first);
    }
  }

  /** Forgets the first block. */
  shift(): void {
    this.#bytes -= this.#blocks.shift()?.length ?? 0;
  }

  /** Forgets what is before `end`. */
  confirm(end: Position): void {
    for (let first = this.first; first !== undefined && first.start + first.records <= end; first = this.first) {
      this.shift();
    }
  }

  read(start: Position, limit: { readonly records: number; readonly bytes: number }): JournalBatch | undefined {
    const block = this.#blocks.find((candidate) => candidate.start + candidate.records > start);
    if (block === undefined) return undefined;
    const from = Math.max(start, block.start);
    const records: Buffer[] = [];
    const metas: RecordMeta[] = [];
    let bytes = 0;
    let position = block.start;
    for (const { kind, task, text } of recordsOf(block)) {
      if (position++ < from) continue;
      if (records.length > 0 && (records.length >= limit.records || bytes + text.length > limit.bytes)) break;
      records.push(text);
      metas.push({ kind, task });
      bytes += text.length;
    }
    return { records, metas, start: from, end: from + records.length, bytes };
  }
}
