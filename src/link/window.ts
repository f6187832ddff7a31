import type { Position } from '../journal/journal.js';

/** A frame that was sent and waits for its ack. */
export interface SentFrame {
  readonly id: string;
  readonly start: Position;
  readonly end: Position;
  /** Records in it; without any, there is nothing to wait for. */
  readonly events: number;
  /** Records between its positions that were left out. */
  readonly left: number;
  readonly bytes: number;
  /** Its last record. */
  readonly last: Buffer | undefined;
  /** Milliseconds of a clock that never goes back. */
  readonly sentAt: number;
}

/** Events a brain may owe before its speed is known. */
const UNMEASURED = 300;
/** Work in flight that is aimed at, in seconds of the brain's measured speed. */
const AIM_SECONDS = 1;
/** Results and heartbeats queue behind what is in flight, should the brain suddenly slow down. */
const MAX_EVENTS = 5000;
const MAX_BYTES = 4 * 1024 * 1024;
const MIN_FRAME = 50;
const MAX_FRAME = 250;
/** A smaller frame waits while others are in flight … */
const WORTHWHILE = 100;
/** … but not longer than this: an ack may be late or lost. Milliseconds. */
export const PATIENCE_MS = 1000;
/**
 * A smaller frame also waits until so long after the last one, so that a host with a few hundred events a second pays
 * for signature, socket and ack once for several jobs: twice as long each time while events go on trickling in. After
 * a pause nothing waits. Milliseconds.
 */
const SPACING_MS = 15;
const MAX_SPACING_MS = 50;
/** How much of the earlier measurements stays with each new one. */
const MEMORY = 0.7;

/** How many events may be on their way: frames sent and not yet acked. Pure. */
export class Window {
  #frames: (SentFrame & { acked: boolean })[] = [];
  #events = 0;
  #bytes = 0;
  /** Decaying sums behind the measured speed. */
  #ackedEvents = 0;
  #ackedMs = 0;
  #acked = 0;
  #left = 0;
  #lastAck = Number.NEGATIVE_INFINITY;
  #lastAdvance = Number.NEGATIVE_INFINITY;
  #lastSent = Number.NEGATIVE_INFINITY;
  #spacing = SPACING_MS;

  /** Events a frame should have now, at most. */
  get frameSize(): number {
    return Math.min(Math.max(Math.round(this.#target() / 2), MIN_FRAME), MAX_FRAME);
  }

  /** Events in flight. */
  get events(): number {
    return this.#events;
  }

  get frames(): number {
    return this.#frames.length;
  }

  /** Records acked so far, repeated ones too. */
  get acked(): number {
    return this.#acked;
  }

  /** Records left out so far, as far as what is before them was acked. */
  get left(): number {
    return this.#left;
  }

  /** Events per second the brain acks; undefined until measured. */
  get rate(): number | undefined {
    return this.#ackedMs > 0 ? (this.#ackedEvents / this.#ackedMs) * 1000 : undefined;
  }

  #target(): number {
    return Math.min(Math.ceil((this.rate ?? UNMEASURED) * AIM_SECONDS), MAX_EVENTS);
  }

  /** Events the next frame may have of `pending` ones, after no ack for `waited` ms; 0 when it is better to wait. */
  room(pending: number, waited: number): number {
    const size = this.frameSize;
    const wanted = Math.min(pending, size);
    if (this.#events === 0) return wanted;
    if (this.#events + wanted > this.#target() || this.#bytes >= MAX_BYTES) return 0;
    return wanted < this.#worthwhile && waited < PATIENCE_MS ? 0 : wanted;
  }

  get #worthwhile(): number {
    return Math.min(this.frameSize, WORTHWHILE);
  }

  /** Milliseconds for which it is better to gather more than `pending` events; 0: they may go now. */
  early(pending: number, now: number): number {
    return pending < this.#worthwhile ? Math.max(this.#lastSent + this.#spacing - now, 0) : 0;
  }

  sent(frame: SentFrame): void {
    this.#frames.push({ ...frame, acked: frame.events === 0 });
    this.#events += frame.events;
    this.#bytes += frame.bytes;
    if (frame.events === 0) return;
    const goesOn = frame.sentAt - this.#lastSent < this.#spacing * 2;
    this.#spacing = goesOn ? Math.min(this.#spacing * 2, MAX_SPACING_MS) : SPACING_MS;
    this.#lastSent = frame.sentAt;
  }

  /** The frame an ack is for; undefined when there is none, or when it was acked before. */
  ack(id: string, now: number): SentFrame | undefined {
    const frame = this.#frames.find((sent) => sent.id === id);
    if (frame === undefined || frame.acked) return undefined;
    frame.acked = true;
    const { events } = frame;
    this.#events -= events;
    this.#acked += events;
    this.#bytes -= frame.bytes;
    // A brain takes in one frame after the other: this one had its attention since the one before was done.
    const ms = Math.max(now - Math.max(frame.sentAt, this.#lastAck), 0.1);
    this.#ackedEvents = this.#ackedEvents * MEMORY + events;
    this.#ackedMs = this.#ackedMs * MEMORY + ms;
    this.#lastAck = now;
    return frame;
  }

  /** Takes away the acked frames at the front; what they end at can be confirmed. */
  advance(): Position | undefined {
    let end: Position | undefined;
    for (let first = this.#frames[0]; first?.acked; first = this.#frames[0]) {
      this.#frames.shift();
      this.#left += first.left;
      end = first.end;
    }
    if (end !== undefined) this.#lastAdvance = this.#lastAck;
    return end;
  }

  /** Since when nothing was confirmed although something is in flight. */
  get waitingSince(): number | undefined {
    const oldest = this.#frames[0];
    return oldest === undefined ? undefined : Math.max(oldest.sentAt, this.#lastAdvance);
  }

  /** Forgets all frames, as at the end of a connection; returns those that were not acked. */
  clear(): readonly SentFrame[] {
    const open = this.#frames.filter((frame) => !frame.acked);
    this.#frames = [];
    this.#events = 0;
    this.#bytes = 0;
    this.#lastSent = Number.NEGATIVE_INFINITY;
    this.#lastAck = Number.NEGATIVE_INFINITY;
    return open;
  }
}
