import { type Block, recordsOf } from './block.js';
import type { JournalBatch, Position } from './journal.js';
import type { SharedState } from './shared.js';

/** The records of a time without a disk: blocks in memory, the oldest dropped and counted over the limit. */
export class Overlay {
  readonly #blocks: Block[] = [];
  readonly #maxBytes: number;
  readonly #shared: SharedState;
  #bytes = 0;

  constructor(maxBytes: number, shared: SharedState) {
    this.#maxBytes = maxBytes;
    this.#shared = shared;
  }

  get bytes(): number {
    return this.#bytes;
  }
  get first(): Block | undefined {
    return this.#blocks[0];
  }

  add(block: Block): void {
    this.#blocks.push({ ...block, bytes: Buffer.from(block.bytes.subarray(0, block.length)) });
    this.#bytes += block.length;
    while (this.#bytes > this.#maxBytes) this.#lose();
  }

  /** Forgets the first block: it is on disk. */
  shift(): void {
    this.#bytes -= this.#blocks.shift()?.length ?? 0;
  }

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
    let bytes = 0;
    let position = block.start;
    for (const { text } of recordsOf(block)) {
      if (position++ < from) continue;
      if (records.length > 0 && (records.length >= limit.records || bytes + text.length > limit.bytes)) break;
      records.push(text);
      bytes += text.length;
    }
    return { records, start: from, end: from + records.length, bytes };
  }

  #lose(): void {
    const block = this.#blocks.shift() as Block;
    this.#bytes -= block.length;
    let position = block.start;
    const { confirmed } = this.#shared;
    for (const { kind } of recordsOf(block)) {
      if (position++ >= confirmed) this.#shared.lose('writer', kind, 1);
    }
  }
}
