import * as fs from 'node:fs';
import { join } from 'node:path';
import { type Block, countRecords } from './block.js';
import {
  closeQuietly,
  createFile,
  isUnlinked,
  NumberCell,
  openFile,
  privateFolder,
  removeFile,
  writeFully,
} from './disk.js';
import { errnoOf } from './errors.js';
import { encodeSegmentHeader, SEGMENT_HEADER } from './format.js';
import type { Position } from './journal.js';
import { KINDS } from './losses.js';
import { countKinds, headerOf, listSegments, type Sealed, scanTail, segmentPath } from './segments.js';
import type { SharedState } from './shared.js';

export interface FilesOptions {
  readonly dir: string;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  readonly fsync: boolean;
  /** The folder was removed while running and has been made again. */
  readonly onRemoved: () => void;
  /** What had not arrived was given up to keep a limit. */
  readonly onEvicted: (limit: 'bytes' | 'age', records: number) => void;
}

interface Active {
  readonly start: Position;
  readonly skipped: number;
  readonly firstAt: number;
  readonly counts: Uint32Array;
  fd: number;
  end: Position;
  bytes: number;
  lastAt: number;
}

const SMALLEST = 64 << 10;
const LARGEST = 4 << 20;
/** How often it is checked whether the folder still exists, and the age of the oldest segment. */
const CHECK_MS = 1000;
export const CONFIRMED_FILE = 'confirmed';
const LOST_FILE = 'lost';
export const LOST_READING_FILE = 'lost-reading';

/** The segments of one journal as the writing side sees them. Methods throw what the file system throws. */
export class SegmentFiles {
  readonly #options: FilesOptions;
  readonly #shared: SharedState;
  readonly #lost: NumberCell;
  readonly #segmentBytes: number;
  readonly #sealed: Sealed[] = [];
  #sealedBytes = 0;
  #active: Active | undefined;
  #checkedAt = Date.now();

  /** Opens what is in the folder: cuts a torn tail, forgets what was confirmed, applies the limits. */
  constructor(options: FilesOptions, shared: SharedState) {
    const { dir, maxBytes } = options;
    this.#options = options;
    this.#shared = shared;
    this.#segmentBytes = Math.min(LARGEST, Math.max(SMALLEST, Math.floor(maxBytes / 64)));
    privateFolder(dir);
    this.#lost = new NumberCell(join(dir, LOST_FILE), 1 + KINDS);
    const [floor = 0, ...losses] = this.#lost.read() ?? [];
    shared.floor = floor;
    shared.setLosses('writer', losses);
    shared.confirmed = new NumberCell(join(dir, CONFIRMED_FILE), 1).read()?.[0] ?? 0;
    shared.setLosses('reader', new NumberCell(join(dir, LOST_READING_FILE), 1 + KINDS).read()?.slice(1) ?? []);
    this.#recover();
    shared.end = Math.max(this.#end(), shared.confirmed, shared.floor);
    this.sweep();
    this.#applyLimits(0, Date.now());
  }

  /** Size of all segments. */
  get bytes(): number {
    return this.#sealedBytes + (this.#active?.bytes ?? 0);
  }

  /** When the oldest record that is left was written, roughly: that of its segment. */
  get oldestAt(): number | undefined {
    return this.#sealed[0]?.firstAt ?? this.#active?.firstAt;
  }

  write(block: Block): void {
    const active = this.#activeFor(block);
    try {
      writeFully(active.fd, block.bytes, block.length, active.bytes);
      if (this.#options.fsync) fs.fdatasyncSync(active.fd);
    } catch (error) {
      this.#undo(active);
      throw error;
    }
    active.bytes += block.length;
    active.end += block.records;
    active.lastAt = block.at;
    countRecords(block, active.counts);
    this.#shared.end = active.end;
    this.#shared.bytes = this.bytes;
  }

  /** Deletes what has arrived, the segment being written only `entirely`; true when anything went. */
  sweep(entirely = false): boolean {
    const { confirmed } = this.#shared;
    if (entirely && this.#active !== undefined && this.#active.end <= confirmed) this.#seal();
    const before = this.#sealed.length;
    for (let first = this.#sealed[0]; first !== undefined && first.end <= confirmed; first = this.#sealed[0]) {
      this.#drop(first);
    }
    return this.#sealed.length < before;
  }

  /** Leaves nothing but small files behind when everything has arrived. */
  close(): void {
    this.sweep(true);
    this.#seal();
    this.#lost.close();
  }

  #end(): Position {
    return this.#active?.end ?? this.#sealed.at(-1)?.end ?? 0;
  }

  #recover(): void {
    const { dir } = this.#options;
    const starts = listSegments(dir);
    for (const [index, start] of starts.entries()) {
      const fd = openFile(segmentPath(dir, start), 'write');
      try {
        const header = headerOf(fd, start);
        const previous = this.#sealed.at(-1);
        if (previous !== undefined) this.#sealed[index - 1] = { ...previous, end: start - header.skipped };
        if (index < starts.length - 1) {
          const bytes = fs.fstatSync(fd).size;
          this.#sealed.push({ ...header, end: start, bytes });
          this.#sealedBytes += bytes;
          fs.closeSync(fd);
        } else {
          this.#resume(fd, header);
        }
      } catch (error) {
        closeQuietly(fd);
        throw error;
      }
    }
  }

  #resume(fd: number, header: Omit<Sealed, 'end' | 'bytes'>): void {
    const tail = scanTail(fd, header.start);
    fs.ftruncateSync(fd, tail.bytes);
    for (const [kind, records] of tail.torn.entries()) this.#shared.lose('writer', kind, records);
    this.#active = {
      ...header,
      fd,
      counts: tail.counts,
      end: tail.end,
      bytes: tail.bytes,
      lastAt: tail.lastAt ?? header.lastAt,
    };
    if (tail.torn.some((records) => records > 0)) this.#persistLosses();
    // A header that was never completed has no room for records behind it: the file is made anew.
    if (tail.bytes < SEGMENT_HEADER || tail.end === header.start) this.#abandon();
  }

  #activeFor(block: Block): Active {
    this.#check();
    this.#applyLimits(block.length + SEGMENT_HEADER, block.at);
    const active = this.#active;
    if (active !== undefined && active.end === block.start && active.bytes + block.length <= this.#segmentBytes) {
      return active;
    }
    this.#seal();
    const { start, at } = block;
    const skipped = Math.max(0, start - this.#shared.end);
    const header = { start, skipped, firstAt: at, lastAt: at };
    const path = segmentPath(this.#options.dir, start);
    const fd = this.#create(path);
    try {
      writeFully(fd, encodeSegmentHeader({ ...header, counts: undefined }), SEGMENT_HEADER, 0);
    } catch (error) {
      closeQuietly(fd);
      removeFile(path);
      throw error;
    }
    this.#active = { ...header, fd, counts: new Uint32Array(KINDS), end: start, bytes: SEGMENT_HEADER };
    return this.#active;
  }

  #create(path: string): number {
    try {
      return createFile(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      privateFolder(this.#options.dir);
      this.#options.onRemoved();
      return createFile(path);
    }
  }

  /** After a write that failed: the file ends where it did, or is left alone when even that cannot be had. */
  #undo(active: Active): void {
    try {
      fs.ftruncateSync(active.fd, active.bytes);
      if (active.end === active.start) this.#abandon();
    } catch {
      this.#seal();
    }
  }

  #abandon(): void {
    const active = this.#active;
    if (active === undefined) return;
    closeQuietly(active.fd);
    removeFile(segmentPath(this.#options.dir, active.start));
    this.#active = undefined;
  }

  #seal(): void {
    const active = this.#active;
    if (active === undefined) return;
    this.#active = undefined;
    const { fd, start, end, skipped, bytes, firstAt, lastAt, counts } = active;
    try {
      writeFully(fd, encodeSegmentHeader({ start, skipped, firstAt, lastAt, counts }), SEGMENT_HEADER, 0);
    } catch {
      // The counts are had by reading the segment, if they are ever needed.
    }
    closeQuietly(fd);
    this.#sealed.push({ start, end, skipped, bytes, firstAt, lastAt, counts });
    this.#sealedBytes += bytes;
  }

  #applyLimits(more: number, now: number): void {
    const { maxBytes, maxAgeMs } = this.#options;
    for (let total = this.bytes + more; total > maxBytes; total = this.bytes + more) {
      if (this.#sealed.length === 0) this.#seal();
      const oldest = this.#sealed[0];
      if (oldest === undefined) return;
      this.#evict(oldest, 'bytes');
    }
    const tooOld = now - maxAgeMs;
    if (this.#active !== undefined && this.#active.lastAt < tooOld) this.#seal();
    for (let first = this.#sealed[0]; first !== undefined && first.lastAt < tooOld; first = this.#sealed[0]) {
      this.#evict(first, 'age');
    }
  }

  #evict(segment: Sealed, limit?: 'bytes' | 'age'): void {
    const shared = this.#shared;
    const from = Math.max(segment.start, shared.confirmed, shared.floor);
    if (from < segment.end) {
      const whole = from === segment.start ? segment.counts : undefined;
      const counts = whole ?? countKinds(this.#options.dir, segment, from);
      for (const [kind, records] of counts.entries()) shared.lose('writer', kind, records);
    }
    this.#drop(segment);
    if (limit !== undefined && from < segment.end) this.#options.onEvicted(limit, segment.end - from);
  }

  /** The floor is on disk before the segment goes: the confirmed position there may be older, and nothing was lost. */
  #drop(segment: Sealed): void {
    if (segment.end > this.#shared.floor) {
      this.#shared.floor = segment.end;
      this.#persistLosses();
    }
    this.#sealed.splice(this.#sealed.indexOf(segment), 1);
    this.#sealedBytes -= segment.bytes;
    removeFile(segmentPath(this.#options.dir, segment.start));
    this.#shared.bytes = this.bytes;
  }

  #persistLosses(): void {
    this.#lost.write([this.#shared.floor, ...this.#shared.lossesOf('writer')]);
  }

  /** Once a second: is the folder still there? What was in it is gone; the segment being written is rescued. */
  #check(): void {
    const now = Date.now();
    if (Math.abs(now - this.#checkedAt) < CHECK_MS) return;
    this.#checkedAt = now;
    const active = this.#active;
    if (active === undefined || !isUnlinked(active.fd)) return;
    const bytes = Buffer.alloc(active.bytes);
    fs.readSync(active.fd, bytes, 0, bytes.length, 0);
    privateFolder(this.#options.dir);
    const fd = createFile(segmentPath(this.#options.dir, active.start));
    writeFully(fd, bytes, bytes.length, 0);
    closeQuietly(active.fd);
    active.fd = fd;
    for (const segment of [...this.#sealed]) {
      if (!fs.existsSync(segmentPath(this.#options.dir, segment.start))) this.#evict(segment);
    }
    this.#persistLosses();
    this.#options.onRemoved();
  }
}
