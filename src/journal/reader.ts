import { join } from 'node:path';
import type { MessagePort } from 'node:worker_threads';
import type { Block } from './block.js';
import { SegmentCursor } from './cursor.js';
import { closeQuietly, isUnlinked, NumberCell, openFile } from './disk.js';
import { errnoOf } from './errors.js';
import { CONFIRMED_FILE, LOST_READING_FILE } from './files.js';
import { SEGMENT_HEADER } from './format.js';
import type { Journal, JournalBatch, Losses, Position, RecordMeta } from './journal.js';
import { KINDS, UNKNOWN_KIND } from './losses.js';
import { Overlay } from './overlay.js';
import { headerOf, listSegments, segmentPath } from './segments.js';
import { SharedState } from './shared.js';
import type { JournalHandle } from './writer.js';

/** What a thread that reads a journal can do: all but appending. `flush` does nothing: what is pending is the writer's. */
export type JournalReading = Omit<Journal, 'append'>;

/** Reads what another thread writes. */
export interface RemoteReading extends JournalReading {
  /** Something was appended up to `end`, though it may not be here yet. */
  expect(end: Position): void;
}

type Limit = { readonly records: number; readonly bytes: number };

/** Where a batch began, to find it again. */
interface Mark {
  readonly start: Position;
  readonly end: Position;
  readonly segment: Position;
  readonly offset: number;
  readonly at: number;
}

interface OpenSegment {
  readonly cursor: SegmentCursor;
  readonly fd: number;
  readonly segment: Position;
}

/** A writer keeps no more in memory either. */
const OVERLAY_BYTES = 64 << 20;
const CONFIRM_MS = 50;
/** Batches remembered; beyond it, a segment is walked from its start. */
const MAX_MARKS = 1024;

/**
 * Opens the reading side of a journal that another thread of this process writes: reads, confirms and tells of new
 * records; the writer deletes what was confirmed.
 */
export function openJournalReader(handle: JournalHandle, onDamage?: OnDamage): RemoteReading {
  const { dir, memory, port } = handle;
  return new JournalReader({ dir, shared: new SharedState(memory), port, onDamage });
}

/** Called once, with what cannot be read of a damaged file. */
export type OnDamage = (records: number) => void;

/** One sentence for `OnDamage`. */
export const damageText = (records: number): string =>
  `${records} ${records === 1 ? 'record' : 'records'} of the journal cannot be read any more and ${records === 1 ? 'is' : 'are'} lost, the others are sent: a file was damaged`;

interface JournalReaderParts {
  readonly dir: string | null;
  readonly shared: SharedState;
  readonly port?: MessagePort | undefined;
  readonly onDamage?: OnDamage | undefined;
}

export class JournalReader implements RemoteReading {
  onAppend: (() => void) | undefined;
  readonly #dir: string | null;
  readonly #shared: SharedState;
  readonly #port: MessagePort | undefined;
  #onDamage: OnDamage | undefined;
  readonly #confirmedCell: NumberCell | undefined;
  readonly #lossCell: NumberCell | undefined;
  /** What a writer without a disk sent. */
  readonly #overlay = new Overlay(OVERLAY_BYTES);
  /** Position of the next record to read. */
  #position: Position;
  #cursor: OpenSegment | undefined;
  #marks: Mark[] = [];
  /** What is missing before it has been counted. */
  #countedTo: Position;
  #confirmedAt = 0;
  #expected: Position = 0;
  #confirmTimer: NodeJS.Timeout | undefined;

  constructor({ dir, shared, port, onDamage }: JournalReaderParts) {
    this.#dir = dir;
    this.#onDamage = onDamage;
    this.#shared = shared;
    this.#position = shared.confirmed;
    if (dir !== null) {
      this.#confirmedCell = new NumberCell(join(dir, CONFIRMED_FILE), 1);
      this.#confirmedCell.read();
      this.#lossCell = new NumberCell(join(dir, LOST_READING_FILE), 1 + KINDS);
    }
    this.#countedTo = this.#lossCell?.read()?.[0] ?? 0;
    this.#port = port;
    port?.on('message', (block: Block | null) => {
      if (block !== null)
        this.#overlay.add({ ...block, bytes: Buffer.from(block.bytes.buffer, block.bytes.byteOffset, block.length) });
      this.onAppend?.();
    });
    port?.unref();
    shared.wait();
  }

  get confirmed(): Position {
    return Math.max(this.#shared.confirmed, this.#shared.floor);
  }

  get end(): Position {
    return Math.max(this.#shared.end, this.#overlay.end, this.#expected);
  }

  get size(): { records: number; bytes: number } {
    const records = Math.max(0, this.end - this.confirmed);
    return { records, bytes: records === 0 ? 0 : this.#shared.bytes + this.#overlay.bytes };
  }

  get oldestAt(): number | undefined {
    const read = this.#marks[0];
    if (read !== undefined) return read.at;
    return this.#seek(this.confirmed) ? this.#cursor?.cursor.time : this.#overlay.first?.at;
  }

  get losses(): Losses {
    return this.#shared.losses;
  }

  read(start: Position, limit: Limit): JournalBatch | undefined {
    const batch = this.#read(Math.max(start, this.confirmed), limit);
    if (batch !== undefined) return batch;
    this.#shared.wait();
    // What was written between the look and the wish to be told would not be told of.
    if (this.#position < this.#shared.end) return this.#read(this.#position, limit);
    this.#overlay.confirm(Math.max(this.#shared.end, this.confirmed));
    return this.#overlay.read(this.#position, limit);
  }

  confirm(end: Position): void {
    if (end <= this.#shared.confirmed) return;
    this.#shared.confirmed = end;
    const keep = this.#marks.findIndex((mark) => mark.end > end);
    this.#marks = keep < 0 ? [] : this.#marks.slice(keep);
    if (Math.abs(Date.now() - this.#confirmedAt) >= CONFIRM_MS) {
      this.#persistConfirmed();
    } else if (this.#confirmTimer === undefined) {
      this.#confirmTimer = setTimeout(() => this.#persistConfirmed(), CONFIRM_MS);
      this.#confirmTimer.unref();
    }
  }

  expect(end: Position): void {
    this.#expected = Math.max(this.#expected, end);
  }

  flush(): void {}

  close(): void {
    this.#persistConfirmed();
    this.#leaveSegment();
    this.#confirmedCell?.close();
    this.#lossCell?.close();
    this.#port?.close();
  }

  #read(start: Position, limit: Limit): JournalBatch | undefined {
    if (!this.#seek(start)) return undefined;
    const { cursor, segment } = this.#cursor as OpenSegment;
    const first = this.#position;
    const mark = { start: first, segment, offset: cursor.offset, at: cursor.time };
    const records: Buffer[] = [];
    const metas: RecordMeta[] = [];
    let bytes = 0;
    do {
      if (records.length > 0 && (records.length >= limit.records || bytes + cursor.length > limit.bytes)) break;
      metas.push({ kind: cursor.kind, task: cursor.task });
      const text = cursor.take();
      records.push(text);
      bytes += text.length;
      this.#position++;
      // A batch ends before a gap, so that its positions are those of its records.
    } while (this.#position < this.#shared.end && cursor.peek() && cursor.position === this.#position);
    // Nobody asks for what is known not to be there.
    if (this.#position >= this.#shared.end) this.#shared.wait();
    this.#marks.push({ ...mark, end: this.#position });
    if (this.#marks.length > MAX_MARKS) this.#marks.splice(1, 1);
    return { records, metas, start: first, end: this.#position, bytes };
  }

  /** Takes the first record at or behind `position` at hand; false when there is none, or none that can be read now. */
  #seek(position: Position): boolean {
    if (position !== this.#position) this.#jump(position);
    try {
      while (this.#position < this.#shared.end) {
        if (this.#findInSegment()) return true;
        if (!this.#enterNext()) return false;
      }
    } catch (error) {
      // Deleted under us, or unreadable for now: looked for again from the list of files next time.
      this.#leaveSegment();
      if (errnoOf(error) === 'unknown') throw error;
    }
    return false;
  }

  #jump(position: Position): void {
    this.#leaveSegment();
    const mark = this.#marks.find(({ start }) => start === position);
    this.#marks = this.#marks.filter(({ end }) => end <= position);
    this.#position = position;
    if (mark === undefined) return;
    try {
      this.#enter(mark.segment, mark.start, mark.offset);
    } catch {
      this.#leaveSegment();
    }
  }

  #findInSegment(): boolean {
    const cursor = this.#cursor?.cursor;
    if (cursor === undefined) return false;
    while (cursor.peek() && cursor.position < this.#position) cursor.skip();
    if (!cursor.peek() || cursor.position >= this.#shared.end) return false;
    this.#lost(this.#position, cursor.position);
    this.#position = cursor.position;
    return true;
  }

  /** Goes to the segment that has `#position`, or the first behind it; false when there is none. */
  #enterNext(): boolean {
    const starts = listSegments(this.#dir ?? '');
    const current = this.#cursor;
    const next =
      current === undefined
        ? (starts.findLast((start) => start <= this.#position) ?? starts[0])
        : starts.find((start) => start > current.segment);
    const { end } = this.#shared;
    if (next === undefined && current !== undefined && isUnlinked(current.fd)) {
      // The folder was removed and made again: what was rescued has the same name.
      this.#leaveSegment();
      return starts.length > 0;
    }
    if (next === undefined || next > end) {
      // Nothing is left of a folder that was removed: that is told by the writer.
      this.#lost(this.#position, end, current !== undefined);
      this.#position = end;
      current?.cursor.expect(end);
      return false;
    }
    this.#leaveSegment();
    const fd = this.#enter(next, next, SEGMENT_HEADER);
    const written = next - headerOf(fd, next).skipped;
    if (next > this.#position) {
      this.#lost(this.#position, written);
      this.#position = next;
    }
    return true;
  }

  #enter(segment: Position, position: Position, offset: number): number {
    const fd = openFile(segmentPath(this.#dir ?? '', segment), 'read');
    this.#cursor = { cursor: new SegmentCursor(fd, position, offset), fd, segment };
    return fd;
  }

  #leaveSegment(): void {
    closeQuietly(this.#cursor?.fd);
    this.#cursor = undefined;
  }

  /** Records that were written and cannot be read. */
  #lost(from: Position, to: Position, damaged = true): void {
    const records = to - Math.max(from, this.#countedTo, this.#shared.floor);
    this.#countedTo = Math.max(this.#countedTo, to);
    if (records <= 0) return;
    this.#shared.lose('reader', UNKNOWN_KIND, records);
    if (damaged) {
      this.#onDamage?.(records);
      this.#onDamage = undefined;
    }
    this.#lossCell?.write([this.#countedTo, ...this.#shared.lossesOf('reader')]);
  }

  #persistConfirmed(): void {
    clearTimeout(this.#confirmTimer);
    this.#confirmTimer = undefined;
    this.#confirmedAt = Date.now();
    this.#confirmedCell?.write([this.#shared.confirmed]);
  }
}
