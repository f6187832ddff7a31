import * as fs from 'node:fs';
import {
  isIntact,
  isPlausible,
  kindAt,
  lengthAt,
  MARKER,
  MARKER_AT,
  positionAt,
  RECORD_HEADER,
  taskAt,
  timeAt,
} from './format.js';
import type { Position } from './journal.js';

/** Bytes read at once; what a batch pins in memory. */
const CHUNK = 256 << 10;
const EMPTY = Buffer.alloc(0);
const NO_VIEW = new DataView(EMPTY.buffer);

/**
 * Walks the records of one segment, a piece of the file in memory at a time. Damaged bytes are stepped over:
 * `position` then jumps.
 */
export class SegmentCursor {
  /** Of the record at hand; without one, the position the next should have. */
  position: Position;
  /** Where it should be in the file. */
  offset: number;
  readonly #fd: number;
  #chunk = EMPTY;
  /** Of the chunk's memory, which begins where the chunk does. */
  #view = NO_VIEW;
  #base = 0;
  /** Where the record at hand is in the chunk; -1: none. */
  #at = -1;

  constructor(fd: number, position: Position, offset: number) {
    this.#fd = fd;
    this.position = position;
    this.offset = offset;
  }

  /** Whether there is a record; it stays at hand until `take` or `skip`. False: no undamaged one until the file's end. */
  peek(): boolean {
    if (this.#at >= 0 || this.#find(this.offset, Number.POSITIVE_INFINITY)) return true;
    // The piece in memory may be older than what the other side has written since.
    this.#chunk = EMPTY;
    if (this.#find(this.offset, Number.POSITIVE_INFINITY)) return true;
    const end = fs.fstatSync(this.#fd).size;
    return end - this.offset > RECORD_HEADER && this.#resynchronise(end);
  }

  get length(): number {
    return lengthAt(this.#chunk, this.#at);
  }
  get kind(): number {
    return kindAt(this.#chunk, this.#at);
  }
  get task(): number {
    return taskAt(this.#chunk, this.#at);
  }
  get time(): number {
    return timeAt(this.#chunk, this.#at);
  }

  /** The text of the record at hand; goes on to the next. */
  take(): Buffer {
    const from = this.#at + RECORD_HEADER;
    const text = this.#chunk.subarray(from, from + this.length);
    this.skip();
    return text;
  }

  skip(): void {
    this.offset += RECORD_HEADER + this.length;
    this.position++;
    this.#at = -1;
  }

  /** Goes on expecting `position`: what is missing before it has been counted. */
  expect(position: Position): void {
    this.position = position;
    this.#at = -1;
  }

  /** Takes the record at `offset` at hand if it is whole, undamaged, and at most `ahead` positions too far. */
  #find(offset: number, ahead: number): boolean {
    if (!this.#load(offset, RECORD_HEADER)) return false;
    let at = offset - this.#base;
    if (!isPlausible(this.#chunk, at)) return false;
    const position = positionAt(this.#chunk, at, this.position);
    if (position === undefined || position - this.position > ahead) return false;
    if (!this.#load(offset, RECORD_HEADER + lengthAt(this.#chunk, at))) return false;
    at = offset - this.#base;
    if (!isIntact(this.#view, at)) return false;
    this.#at = at;
    this.position = position;
    this.offset = offset;
    return true;
  }

  #resynchronise(end: number): boolean {
    const damagedAt = this.offset;
    for (let from = damagedAt + 1; from + RECORD_HEADER <= end; ) {
      if (!this.#load(from, RECORD_HEADER)) return false;
      const index = this.#chunk.indexOf(MARKER, from - this.#base + MARKER_AT);
      if (index < 0) {
        from = this.#base + this.#chunk.length - MARKER_AT;
        continue;
      }
      const candidate = this.#base + index - MARKER_AT;
      if (this.#find(candidate, Math.ceil((candidate - damagedAt) / RECORD_HEADER))) return true;
      from = candidate + 1;
    }
    return false;
  }

  /** Whether `length` bytes from `offset` on are in the chunk; reads them if need be. */
  #load(offset: number, length: number): boolean {
    if (offset >= this.#base && offset + length <= this.#base + this.#chunk.length) return true;
    const left = fs.fstatSync(this.#fd).size - offset;
    if (left < length) return false;
    // A new buffer every time: texts handed out are views of the old one.
    const chunk = Buffer.allocUnsafeSlow(Math.min(left, Math.max(CHUNK, length)));
    const read = fs.readSync(this.#fd, chunk, 0, chunk.length, offset);
    if (read < length) return false;
    this.#chunk = chunk.subarray(0, read);
    this.#view = new DataView(chunk.buffer);
    this.#base = offset;
    return true;
  }
}
