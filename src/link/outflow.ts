import type { JournalBatch, Position, RecordMeta } from '../journal/journal.js';
import type { JournalReading } from '../journal/reader.js';
import { FRAME_OVERHEAD_BYTES } from '../protocol/index.js';
import { Isolation } from './isolation.js';
import { Window } from './window.js';

/** A frame to be built and sent now. */
export interface NextFrame {
  readonly id: string;
  readonly records: readonly Buffer[];
}

/** How things stand between journal and brain. */
export interface Standing {
  /** Milliseconds of a clock that never goes back. */
  readonly now: number;
  /** Position the next record will get. */
  readonly end: Position;
  /** Records that were neither acked nor left out. */
  readonly backlog: number;
  /** Records acked so far. */
  readonly acked: number;
  /** Events per second the brain takes, measured while it had work; undefined until measured. */
  readonly rate: number | undefined;
}

/** Decides what is sent where not everything can be; missing: everything is. */
export interface Selection {
  /** Called whenever something may be read. */
  observe(standing: Standing): void;
  /** How a task began or ended: kind and task as in `RecordMeta`, and whether it is to be sent whatever happens. */
  note(kind: number, task: number, remarkable: boolean): void;
  /** False: all is kept, `keeps` need not be asked. */
  readonly active: boolean;
  /** Whether the next record is sent; asked for each, in order. What is not counts as confirmed with what is before it. */
  keeps(meta: RecordMeta): boolean;
  /** Position behind the last record that may be read now; at most `end`. */
  readable(end: Position): Position;
  /** The connection ended: what is not confirmed is read again. */
  restarted(): void;
  /** Part of the successful tasks that is sent now. */
  readonly share: number;
}

export interface OutflowOptions {
  readonly journal: JournalReading;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** One record cannot be sent, and why. */
  readonly onGivenUp: (reason: string) => void;
  readonly selection?: Selection | undefined;
  /** `next` is to be called again. */
  readonly onReady?: (() => void) | undefined;
}

/** Most bytes of records in a frame. */
const FRAME_BYTES = 256 * 1024;
/** Most records looked at in one turn of the event loop; the host has other things to do. */
const MAX_LOOKED = 2000;
/** After which it is seen whether held back records may be read, in milliseconds. */
const HELD_MS = 200;
/** Between two looks while tasks may be left out: when all is quiet, that is over, too. Milliseconds. */
const LOOK_MS = 1000;

/** Records to be sent, and how many between them are not. */
interface Picked extends Omit<JournalBatch, 'metas'> {
  readonly left: number;
}

/** What is read from the journal, is on its way and is confirmed; outlives connections. */
export class Outflow {
  readonly #journal: JournalReading;
  readonly #now: () => number;
  readonly #onGivenUp: (reason: string) => void;
  readonly #selection: Selection | undefined;
  readonly #onReady: (() => void) | undefined;
  readonly #window = new Window();
  readonly #isolation = new Isolation();
  #next: Position = 0;
  #frameNumber = 0;
  /** A record some brain took. */
  #sample: Buffer | undefined;
  /** Position at which acks did not come in time, and how often. */
  #silent = { at: -1, times: 0 };
  /** Nothing before it is held back. */
  #hurried: Position = 0;
  #ready: NodeJS.Timeout | undefined;
  /** Runs while little is gathered for one frame. */
  #gathering: NodeJS.Timeout | undefined;
  /** Time of the last confirmation, in milliseconds since the epoch. */
  lastAckAt: number | undefined;
  /** Records that no brain took. */
  givenUp = 0;

  constructor({ journal, now, onGivenUp, selection, onReady }: OutflowOptions) {
    this.#journal = journal;
    this.#now = now;
    this.#onGivenUp = onGivenUp;
    this.#selection = selection;
    this.#onReady = onReady;
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

  /** Records left out because the brain could not take them. */
  get leftOut(): number {
    return this.#window.left;
  }

  /** Part of the successful tasks that is sent now. */
  get share(): number {
    return this.#selection?.share ?? 1;
  }

  /** What is there now is held back no longer. */
  hurry(): void {
    this.#hurried = this.#journal.end;
    this.#onReady?.();
  }

  /**
   * The next frame, counted as sent; undefined when there is nothing or it is better to wait for acks. Its records have
   * about `aimBytes` at most; a single one that is larger goes alone, up to `maxFrameBytes`.
   */
  next(maxFrameBytes: number, aimBytes = FRAME_BYTES): NextFrame | undefined {
    const journal = this.#journal;
    const bytes = Math.max(maxFrameBytes - FRAME_OVERHEAD_BYTES, 1);
    const aim = Math.min(aimBytes, bytes);
    this.#observe();
    for (;;) {
      // The oldest may have been evicted in the meantime.
      const from = Math.max(this.#next, journal.confirmed);
      if (this.#isolation.active && this.#window.frames > 0) return undefined;
      const careful = this.#isolation.next(journal.confirmed, journal.end, this.#sample !== undefined);
      if (careful?.records === 0 && this.#sample !== undefined) {
        const { length } = this.#sample;
        return this.#sent({
          records: [this.#sample],
          start: careful.start,
          end: careful.start,
          bytes: length,
          left: 0,
        });
      }
      const readable = careful === undefined ? this.#readable() : journal.end;
      if (careful === undefined && this.#gathers(from, readable)) return undefined;
      const room = careful?.records ?? this.#window.room(readable - from, this.waiting);
      if (room <= 0) return undefined;
      // A comma each.
      const limit = { records: room, bytes: Math.max(aim - room, 1) };
      // While a record is looked for that a brain refuses, what lies between is not left out.
      const batch = careful === undefined ? this.#pick(from, readable, limit) : this.#read(careful.start, limit);
      if (batch === undefined) return undefined;
      if (batch.records.length === 1 && batch.bytes > bytes) {
        if (this.#window.frames > 0) return undefined;
        this.#giveUp(batch.start, `it is larger (${batch.bytes} bytes) than a frame may be (${maxFrameBytes})`);
        continue;
      }
      this.#next = batch.end;
      return this.#sent(batch);
    }
  }

  #read(start: Position, limit: { readonly records: number; readonly bytes: number }): Picked | undefined {
    const batch = this.#journal.read(start, limit);
    return batch && { ...batch, left: 0 };
  }

  /** As `read`, but without what is left out; that is passed over where nothing is before it. */
  #pick(from: Position, readable: Position, limit: { readonly records: number; readonly bytes: number }) {
    const selection = this.#selection;
    if (selection?.active !== true) return this.#read(from, limit);
    const records: Buffer[] = [];
    let [start, end, bytes, left] = [from, from, 0, 0];
    for (let looked = 0; records.length < limit.records && end < readable; looked += limit.records) {
      if (looked >= MAX_LOOKED) {
        if (records.length === 0) this.#readyIn(0);
        break;
      }
      const rest = Math.min(limit.records - records.length, readable - end);
      const batch = this.#journal.read(end, { records: rest, bytes: Math.max(limit.bytes - bytes, 1) });
      // A single record may be larger than asked for: it is read again for the next frame.
      if (batch === undefined || (records.length > 0 && bytes + batch.bytes > limit.bytes)) break;
      if (records.length === 0) start = batch.start;
      end = batch.end;
      for (const [index, record] of batch.records.entries()) {
        if (selection.keeps(batch.metas[index] as RecordMeta)) {
          records.push(record);
          bytes += record.length;
        } else {
          left++;
        }
      }
      if (records.length > 0) continue;
      this.#pass(start, end, left);
      left = 0;
    }
    return records.length === 0 ? undefined : { records, start, end, bytes, left };
  }

  /** Nothing between is sent. */
  #pass(start: Position, end: Position, left: number): void {
    this.#next = end;
    this.#window.sent({ id: '', start, end, events: 0, left, bytes: 0, last: undefined, sentAt: this.#now() });
    this.#advance();
  }

  #sent({ records, start, end, bytes, left }: Picked): NextFrame {
    const id = `ev_${++this.#frameNumber}`;
    const events = records.length;
    this.#window.sent({ id, start, end, events, left, bytes, last: records.at(-1), sentAt: this.#now() });
    return { id, records };
  }

  #observe(): void {
    const selection = this.#selection;
    if (selection === undefined) return;
    const { end, confirmed } = this.#journal;
    selection.observe({
      now: this.#now(),
      end,
      backlog: end - confirmed,
      acked: this.#window.acked,
      rate: this.rate,
    });
    if (selection.active) this.#readyIn(LOOK_MS);
  }

  #readable(): Position {
    const { end } = this.#journal;
    const readable = Math.max(this.#selection?.readable(end) ?? end, Math.min(this.#hurried, end));
    if (readable < end) this.#readyIn(HELD_MS);
    return readable;
  }

  /** Whether it is too early for a frame of what is there; `onReady` is called when it no longer is. */
  #gathers(from: Position, readable: Position): boolean {
    if (readable <= from || from < this.#hurried) return false;
    const early = Math.ceil(this.#window.early(readable - from, this.#now()));
    if (early === 0) return false;
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      this.#onReady?.();
    }, early).unref();
    return true;
  }

  /** False: `next` would give nothing now, and it is known when it will. */
  get wanting(): boolean {
    return this.#gathering === undefined || this.#window.early(this.#journal.end - this.#next, this.#now()) === 0;
  }

  #readyIn(ms: number): void {
    this.#ready ??= setTimeout(() => {
      this.#ready = undefined;
      this.#onReady?.();
    }, ms).unref();
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
    this.#advance(counts);
    return true;
  }

  #advance(counts = true): void {
    const end = this.#window.advance();
    if (end !== undefined && counts) this.#journal.confirm(end);
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
    this.#selection?.restarted();
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
