import type { Position } from '../journal/journal.js';
import type { JournalReading } from '../journal/reader.js';
import { FRAME_OVERHEAD_BYTES } from '../protocol/index.js';
import { Isolation } from './isolation.js';
import { Window } from './window.js';

/** A frame to be built and sent now. */
export interface NextFrame {
  readonly id: string;
  readonly records: readonly Buffer[];
}

export interface OutflowOptions {
  readonly journal: JournalReading;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** One record cannot be sent, and why. */
  readonly onGivenUp: (reason: string) => void;
}

/** Most bytes of records in a frame. */
const FRAME_BYTES = 256 * 1024;

/** What is read from the journal, is on its way and is confirmed; outlives connections. */
export class Outflow {
  readonly #journal: JournalReading;
  readonly #now: () => number;
  readonly #onGivenUp: (reason: string) => void;
  readonly #window = new Window();
  readonly #isolation = new Isolation();
  #next: Position = 0;
  #frameNumber = 0;
  /** A record some brain took. */
  #sample: Buffer | undefined;
  /** Position at which acks did not come in time, and how often. */
  #silent = { at: -1, times: 0 };
  /** Time of the last confirmation, in milliseconds since the epoch. */
  lastAckAt: number | undefined;
  /** Records that no brain took. */
  givenUp = 0;

  constructor({ journal, now, onGivenUp }: OutflowOptions) {
    this.#journal = journal;
    this.#now = now;
    this.#onGivenUp = onGivenUp;
  }

  /** Everything that was appended has been confirmed. */
  get empty(): boolean {
    return this.#journal.confirmed >= this.#journal.end;
  }

  get unacked(): number {
    return this.#window.events;
  }

  /** Events per second the brain takes; undefined until measured. */
  get rate(): number | undefined {
    return this.#window.rate;
  }

  /**
   * The next frame, counted as sent; undefined when there is nothing or it is better to wait for acks. Its records have
   * about `aimBytes` at most; a single one that is larger goes alone, up to `maxFrameBytes`.
   */
  next(maxFrameBytes: number, aimBytes = FRAME_BYTES): NextFrame | undefined {
    const journal = this.#journal;
    const bytes = Math.max(maxFrameBytes - FRAME_OVERHEAD_BYTES, 1);
    const aim = Math.min(aimBytes, bytes);
    for (;;) {
      // The oldest may have been evicted in the meantime.
      const from = Math.max(this.#next, journal.confirmed);
      if (this.#isolation.active && this.#window.frames > 0) return undefined;
      const careful = this.#isolation.next(journal.confirmed, journal.end, this.#sample !== undefined);
      if (careful?.records === 0 && this.#sample !== undefined) {
        return this.#sent([this.#sample], careful.start, careful.start, this.#sample.length);
      }
      const start = careful?.start ?? from;
      const room = careful?.records ?? this.#window.room(journal.end - from, this.waiting);
      if (room <= 0) return undefined;
      // A comma each.
      const batch = journal.read(start, { records: room, bytes: Math.max(aim - room, 1) });
      if (batch === undefined) return undefined;
      if (batch.records.length === 1 && batch.bytes > bytes) {
        if (this.#window.frames > 0) return undefined;
        this.#giveUp(batch.start, `it is larger (${batch.bytes} bytes) than a frame may be (${maxFrameBytes})`);
        continue;
      }
      this.#next = batch.end;
      return this.#sent(batch.records, batch.start, batch.end, batch.bytes);
    }
  }

  #sent(records: readonly Buffer[], start: Position, end: Position, bytes: number): NextFrame {
    const id = `ev_${++this.#frameNumber}`;
    this.#window.sent({ id, start, end, bytes, last: records.at(-1), sentAt: this.#now() });
    return { id, records };
  }

  /** An ack arrived; false when it is for nothing that is in flight. */
  ack(id: string): boolean {
    const frame = this.#window.ack(id, this.#now());
    if (frame === undefined) return false;
    this.lastAckAt = Date.now();
    this.#silent = { at: -1, times: 0 };
    // A copy: a record may be a view of a whole segment.
    if (frame.last !== undefined) this.#sample = Buffer.from(frame.last);
    const counts = !this.#isolation.active || this.#isolation.acked(frame);
    const end = this.#window.advance();
    if (end !== undefined && counts) this.#journal.confirm(end);
    return true;
  }

  /** Milliseconds for which nothing was confirmed although something is in flight. */
  get waiting(): number {
    const since = this.#window.waitingSince;
    return since === undefined ? 0 : this.#now() - since;
  }

  /**
   * The connection ended: what was not confirmed is sent again. `cause` is `refused` when the brain said that a frame
   * was at fault, `suspected` when it failed while frames were in flight, `silent` when acks did not come in time.
   */
  restart(cause?: 'refused' | 'suspected' | 'silent'): void {
    const open = this.#window.clear();
    this.#next = this.#journal.confirmed;
    if (cause === undefined || open.length === 0) return;
    if (cause === 'silent') {
      const at = this.#journal.confirmed;
      this.#silent = { at, times: this.#silent.at === at ? this.#silent.times + 1 : 1 };
      // Once is the brain's trouble; again at the same place may be the frame's.
      if (this.#silent.times < 2) return;
    }
    const bad = this.#isolation.refused(open, cause === 'refused');
    if (bad !== undefined) this.#giveUp(bad, 'the brain refuses it and takes others');
  }

  /** Only when nothing before `position` is in flight: everything up to it counts as arrived. */
  #giveUp(position: Position, reason: string): void {
    this.givenUp++;
    if (this.#journal.confirmed <= position) this.#journal.confirm(position + 1);
    this.#onGivenUp(reason);
  }
}
