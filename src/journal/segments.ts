import * as fs from 'node:fs';
import { join } from 'node:path';
import { SegmentCursor } from './cursor.js';
import { closeQuietly, openFile } from './disk.js';
import {
  decodeSegmentHeader,
  isPlausible,
  kindAt,
  lengthAt,
  RECORD_HEADER,
  SEGMENT_HEADER,
  segmentName,
  segmentStart,
} from './format.js';
import type { Position } from './journal.js';
import { count, KINDS, UNKNOWN_KIND } from './losses.js';

/** A segment that is no longer written to. */
export interface Sealed {
  readonly start: Position;
  readonly end: Position;
  readonly skipped: number;
  readonly bytes: number;
  readonly firstAt: number;
  readonly lastAt: number;
  /** Undefined: its records have to be looked at. */
  readonly counts: Uint32Array | undefined;
}

export const segmentPath = (dir: string, start: Position): string => join(dir, segmentName(start));

/** First positions of the segments of a folder, ascending. Only ordinary files count. */
export function listSegments(dir: string): Position[] {
  const starts: Position[] = [];
  for (const entry of fs.readdirSync(dir, { withFileTypes: true })) {
    const start = entry.isFile() ? segmentStart(entry.name) : undefined;
    if (start !== undefined) starts.push(start);
  }
  return starts.sort((a, b) => a - b);
}

/** What the header of an open segment says; what is to be assumed when it is damaged. */
export function headerOf(fd: number, start: Position): Omit<Sealed, 'end' | 'bytes'> {
  const bytes = Buffer.alloc(SEGMENT_HEADER);
  const read = fs.readSync(fd, bytes, 0, SEGMENT_HEADER, 0);
  const { mtimeMs } = fs.fstatSync(fd);
  const header = decodeSegmentHeader(bytes.subarray(0, read), start);
  if (header?.counts !== undefined) return header;
  return {
    start,
    skipped: header?.skipped ?? 0,
    firstAt: header?.firstAt || Math.trunc(mtimeMs),
    lastAt: Math.trunc(mtimeMs),
    counts: undefined,
  };
}

/** Records of a segment from `from` on, by kind; those that cannot be read are counted as the unknown kind. */
export function countKinds(dir: string, { start, end }: Sealed, from: Position): Uint32Array {
  const counts = new Uint32Array(KINDS);
  let fd: number | undefined;
  let known = 0;
  try {
    fd = openFile(segmentPath(dir, start), 'read');
    const cursor = new SegmentCursor(fd, start, SEGMENT_HEADER);
    for (; cursor.peek() && cursor.position < end; cursor.skip()) {
      if (cursor.position < from) continue;
      count(counts, cursor.kind);
      known++;
    }
  } catch {
    // Gone or unreadable: all of it is of an unknown kind.
  } finally {
    closeQuietly(fd);
  }
  count(counts, UNKNOWN_KIND, Math.max(0, end - from - known));
  return counts;
}

/** The end of a segment that was being written when its process ended. */
export interface Tail {
  readonly end: Position;
  /** Where the undamaged records end. */
  readonly bytes: number;
  readonly counts: Uint32Array;
  readonly lastAt: number | undefined;
  /** Records behind that, cut off in the middle, by kind. */
  readonly torn: Uint32Array;
}

export function scanTail(fd: number, start: Position): Tail {
  const counts = new Uint32Array(KINDS);
  let lastAt: number | undefined;
  const cursor = new SegmentCursor(fd, start, SEGMENT_HEADER);
  for (; cursor.peek(); cursor.skip()) {
    count(counts, cursor.kind);
    lastAt = cursor.time;
  }
  return { end: cursor.position, bytes: cursor.offset, counts, lastAt, torn: countTorn(fd, cursor.offset) };
}

function countTorn(fd: number, offset: number): Uint32Array {
  const torn = new Uint32Array(KINDS);
  const left = Math.min(fs.fstatSync(fd).size - offset, 8 << 20);
  if (left <= 0) return torn;
  const bytes = Buffer.alloc(left);
  fs.readSync(fd, bytes, 0, left, offset);
  let found = false;
  for (let at = 0; at + RECORD_HEADER <= left && isPlausible(bytes, at); at += RECORD_HEADER + lengthAt(bytes, at)) {
    count(torn, kindAt(bytes, at));
    found = true;
  }
  // A file that was lengthened by a crash of the machine ends in zeros; they were no record.
  if (!found && bytes.some((byte) => byte !== 0)) count(torn, UNKNOWN_KIND);
  return torn;
}
