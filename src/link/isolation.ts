import type { Position } from '../journal/journal.js';
import type { SentFrame } from './window.js';

/**
 * What the next frame is made of while a bad record is looked for; with no records it is the sample, a record that was
 * taken before.
 */
export interface CarefulStep {
  readonly start: Position;
  readonly records: number;
}

/** Of a frame while looking. */
const MAX_RECORDS = 250;

/**
 * Finds the one record a brain refuses: after a refusal what was in flight is sent again one frame at a time, halved
 * at each further refusal. A brain that fails by itself refuses everything, and may get well at any moment: so a single
 * record is only given up when it is refused, another one is taken, and it is refused again. The other one is a record
 * that was taken before, which changes nothing; only where there is none, one after it goes out of its turn. Pure.
 */
export class Isolation {
  /** Everything before it was in flight when something was refused. */
  #until: Position | undefined;
  #records = 0;
  #suspect: Position | undefined;
  /** The record the suspect is compared with: is to be sent, was taken. */
  #other: 'none' | 'sent' | 'taken' = 'none';
  /** From the suspect to the other one, where there is no sample. */
  #distance = 1;

  get active(): boolean {
    return this.#until !== undefined;
  }

  /** The only frame that may be in flight now; undefined when nothing is looked for. */
  next(confirmed: Position, end: Position, sample: boolean): CarefulStep | undefined {
    if (this.#until === undefined) return undefined;
    if (confirmed >= this.#until) {
      this.#until = undefined;
      this.#suspect = undefined;
      return undefined;
    }
    if (this.#suspect === undefined || this.#suspect < confirmed) return { start: confirmed, records: this.#records };
    if (this.#other === 'sent') {
      if (sample) return { start: this.#suspect, records: 0 };
      const other = this.#suspect + this.#distance;
      if (other < end) return { start: other, records: 1 };
      this.#other = 'none';
      this.#distance = 1;
    }
    return { start: this.#suspect, records: 1 };
  }

  /**
   * The connection ended over one of `frames`, all that was in flight. `certain`: the brain said that the frame, not
   * itself, was at fault. Returns the record to be given up, if it is known now.
   */
  refused(frames: readonly SentFrame[], certain: boolean): Position | undefined {
    const first = frames[0];
    const last = frames.at(-1);
    if (first === undefined || last === undefined) return undefined;
    this.#until = Math.max(this.#until ?? 0, last.end);
    const records = last.end - first.start;
    if (records > 1) {
      this.#records = Math.min(Math.ceil(records / 2), MAX_RECORDS);
      this.#suspect = undefined;
      return undefined;
    }
    if (this.#compares(first)) {
      // Both are refused: the brain is ill, or it is another bad one.
      this.#other = 'none';
      this.#distance++;
      return undefined;
    }
    if (certain || (first.start === this.#suspect && this.#other === 'taken')) {
      this.#suspect = undefined;
      return first.start;
    }
    this.#suspect = first.start;
    this.#other = 'sent';
    return undefined;
  }

  /** A frame was taken. False when it was sent for comparison only, out of its turn: it does not count as confirmed. */
  acked(frame: SentFrame): boolean {
    if (this.#compares(frame)) {
      this.#other = 'taken';
      return false;
    }
    this.#suspect = undefined;
    this.#records = Math.min(this.#records * 2, MAX_RECORDS);
    return true;
  }

  #compares({ end }: SentFrame): boolean {
    return this.#suspect !== undefined && end !== this.#suspect + 1;
  }
}
