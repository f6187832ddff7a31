import { crc32 } from 'node:zlib';
import { checksum } from './checksum.js';
import type { Position, RecordMeta } from './journal.js';
import { KINDS, UNKNOWN_KIND } from './losses.js';

/*
 * A segment is a file `<position of its first record, 16 digits>.seg`: a header, then records without gaps.
 *
 *   header   crc32 of what follows · 'z4j1' · start · skipped · firstAt · lastAt · sealed · count per kind
 *   record   checksum of what follows · length · low half of the position · task · time (48 bits) · kind · 0xa5 · text
 *
 * Little-endian; positions and times as doubles in the header. Marker and position let a reader find the next record
 * behind damaged bytes and know how many it missed.
 */
export const SEGMENT_HEADER = 64 + KINDS * 4;
export const RECORD_HEADER = 24;
/** Longest text of one record, in bytes; the brain takes no frame of more than 1 MiB. */
export const MAX_TEXT = 4 << 20;
export const MARKER = 0xa5;
export const MARKER_AT = 23;
const MAGIC = 0x316a347a;
const NAME = /^(\d{16})\.seg$/;

export interface SegmentHeader {
  readonly start: Position;
  /** Positions before `start` that were never written: lost while there was no disk, and counted then. */
  readonly skipped: number;
  readonly firstAt: number;
  readonly lastAt: number;
  /** Records by kind; undefined while the segment is being written. */
  readonly counts: Uint32Array | undefined;
}

export const segmentName = (start: Position): string => `${String(start).padStart(16, '0')}.seg`;

/** Undefined for files that are no segments. */
export function segmentStart(name: string): Position | undefined {
  const digits = NAME.exec(name)?.[1];
  const start = digits === undefined ? Number.NaN : Number(digits);
  return Number.isSafeInteger(start) ? start : undefined;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER);
  bytes.writeUInt32LE(MAGIC, 4);
  bytes.writeDoubleLE(header.start, 8);
  bytes.writeDoubleLE(header.skipped, 16);
  bytes.writeDoubleLE(header.firstAt, 24);
  bytes.writeDoubleLE(header.lastAt, 32);
  bytes.writeUInt32LE(header.counts === undefined ? 0 : 1, 40);
  header.counts?.forEach((count, kind) => {
    bytes.writeUInt32LE(count, 64 + kind * 4);
  });
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  return bytes;
}

/** Undefined when it is damaged or belongs to another segment. */
export function decodeSegmentHeader(bytes: Buffer, start: Position): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER || bytes.readUInt32LE(4) !== MAGIC) return undefined;
  if (bytes.readUInt32LE(0) !== crc32(bytes.subarray(4, SEGMENT_HEADER)) || bytes.readDoubleLE(8) !== start) {
    return undefined;
  }
  let counts: Uint32Array | undefined;
  if (bytes.readUInt32LE(40) === 1) {
    counts = new Uint32Array(KINDS);
    for (let kind = 0; kind < KINDS; kind++) counts[kind] = bytes.readUInt32LE(64 + kind * 4);
  }
  return {
    start,
    skipped: bytes.readDoubleLE(16),
    firstAt: bytes.readDoubleLE(24),
    lastAt: bytes.readDoubleLE(32),
    counts,
  };
}

/** Stands between texts that are written at once, where headers come. */
const GAP = ' '.repeat(RECORD_HEADER);

/**
 * Writes records from `at` on, the first at `position`, and returns the offset behind them. `bytes` has room for
 * `RECORD_HEADER` and three bytes for every unit of each text; `view` is of the same memory (four times as fast as the
 * methods of Buffer).
 */
export function encodeRecords(
  bytes: Buffer,
  view: DataView,
  at: number,
  texts: readonly string[],
  metas: readonly RecordMeta[],
  position: Position,
  time: number,
): number {
  // All texts in one go: of what writing one takes, more is the way into native code than the copying.
  const joined = texts.join(GAP);
  const ascii = bytes.write(joined, at + RECORD_HEADER, 'utf8') === joined.length;
  let end = at;
  for (let i = 0; i < texts.length; i++) {
    const from = end + RECORD_HEADER;
    const text = texts[i] as string;
    const length = ascii ? text.length : bytes.write(text, from, 'utf8');
    encodeHeader(view, end, length, metas[i] as RecordMeta, position + i, time);
    end = from + length;
  }
  return end;
}

function encodeHeader(
  view: DataView,
  at: number,
  length: number,
  { kind, task }: RecordMeta,
  position: Position,
  time: number,
): void {
  view.setUint32(at + 4, length, true);
  view.setUint32(at + 8, position, true);
  view.setUint32(at + 12, task, true);
  view.setUint32(at + 16, time, true);
  view.setUint16(at + 20, time / 2 ** 32, true);
  view.setUint8(at + 22, Math.min(kind, UNKNOWN_KIND));
  view.setUint8(at + MARKER_AT, MARKER);
  view.setUint32(at, checksum(view, at + 4, at + RECORD_HEADER + length), true);
}

export const lengthAt = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 4);
export const taskAt = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 12);
export const timeAt = (bytes: Buffer, at: number): number => bytes.readUIntLE(at + 16, 6);
export const kindAt = (bytes: Buffer, at: number): number => Math.min(bytes[at + 22] as number, UNKNOWN_KIND);

/** The full position, given that it is not before `expected`; undefined when it would be. */
export function positionAt(bytes: Buffer, at: number, expected: Position): Position | undefined {
  const ahead = (bytes.readUInt32LE(at + 8) - (expected >>> 0)) >>> 0;
  return ahead < 0x8000_0000 ? expected + ahead : undefined;
}

/** Whether the header at `at` can be one; says nothing of its text. */
export function isPlausible(bytes: Buffer, at: number): boolean {
  return bytes[at + MARKER_AT] === MARKER && lengthAt(bytes, at) <= MAX_TEXT;
}

/** Whether a whole, undamaged record is at `at`, all of it in `view`. */
export function isIntact(view: DataView, at: number): boolean {
  return view.getUint32(at, true) === checksum(view, at + 4, at + RECORD_HEADER + view.getUint32(at + 4, true));
}
