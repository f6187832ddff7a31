import type { Position } from '../journal/journal.js';
import type { SentFrame } from './window.js';

/** What the next frame is made of while a bad record is looked for. */
export interface CarefulStep {
  readonly start: Position;
  readonly records: number;
}

/** Of a frame while looking. */
const MAX_RECORDS = 250;

/**
 * Finds the one record a brain refuses: after a refusal what was in flight is sent again one frame at a time, halved
 * at each further refusal. A brain that fails by itself refuses everything, so a single record is only given up when
 * another one is taken while it is not. Pure.
 */
export class Isolation {
  /** Everything before it was in flight when something was refused. */
  #until: Position | undefined;
  #records = 0;
  #suspect: Position | undefined;
  #probing = false;

  get active(): boolean {
    return this.#until !== undefined;
  }

  /** The only frame that may be in flight now; undefined when nothing is looked for. */
  next(confirmed: Position, end: Position): CarefulStep | undefined {
    if (this.#until === undefined) return undefined;
    if (confirmed >= this.#until) {
      this.#forget();
      return undefined;
    }
    if (this.#suspect === undefined || this.#suspect < confirmed) return { start: confirmed, records: this.#records };
    // Nothing to compare with: the suspect itself is tried again.
    if (this.#suspect + 1 >= end) this.#probing = false;
    return { start: this.#probing ? this.#suspect + 1 : this.#suspect, records: 1 };
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
    if (this.#probing) {
      // Both are refused: the brain is ill.
      this.#probing = false;
    } else if (records > 1) {
      this.#records = Math.min(Math.ceil(records / 2), MAX_RECORDS);
    } else if (certain) {
      return first.start;
    } else {
      this.#suspect = first.start;
      this.#probing = true;
    }
    return undefined;
  }

  /** A frame was taken. Returns the record to be given up, if it is known now. */
  acked(frame: SentFrame): Position | undefined {
    const suspect = this.#suspect;
    const given = this.#probing && suspect !== undefined && frame.start === suspect + 1 ? suspect : undefined;
    this.#suspect = undefined;
    this.#probing = false;
    this.#records = Math.min(this.#records * 2, MAX_RECORDS);
    return given;
  }

  #forget(): void {
    this.#until = undefined;
    this.#suspect = undefined;
    this.#probing = false;
  }
}
