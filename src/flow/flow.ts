import type { Position, RecordMeta } from '../journal/journal.js';
import type { Selection, Standing } from '../link/index.js';
import type { Log } from '../log.js';
import { RECEIVED, SENT, SUCCEEDED, TOUCHED } from './kinds.js';
import { type Depth, type Parts, type Plan, plan } from './plan.js';
import { Pressure } from './pressure.js';
import { ENDED, HERE, OUT, READ, REMARKABLE, Tasks, TOLD, WHOLE } from './tasks.js';

export interface FlowOptions {
  /** Part of the successful tasks to be sent at all times; left out or 1: all while the brain keeps up. */
  readonly share?: number | undefined;
  readonly log: Pick<Log, 'once' | 'over' | 'info'>;
  /** Whether notes are wanted; see `Watch`. */
  readonly onWatch: (on: boolean) => void;
  /** Over which speeds are measured, in milliseconds. Default 3000. */
  readonly windowMs?: number | undefined;
  /** How long events wait for the end of their task while any are left out, in milliseconds. Default 2000. */
  readonly holdMs?: number | undefined;
}

const MAX_TASKS = 100_000;
const MAX_TOUCHED = 1000;
/**
 * Tasks are watched while so much waits: seconds of the brain's time, and records. What was captured before has been
 * sent when pressure is seen.
 */
const WORTH_WATCHING = 2;
const LEAST_BACKLOG = 200;

const EVERYTHING: Plan = { share: 1, depth: 'successes' };

/** Of a backlog nobody has watched. */
const UNKNOWN: Parts = { always: 0, waiting: 1, ending: 0, success: 0 };

type Part = keyof Parts | 'log';

/**
 * Decides what a brain that cannot take everything is told. While it keeps up, or is merely away, that is everything.
 * When this process makes more than the brain takes for a while, whole tasks are left out: never those that failed,
 * were retried, revoked, slow, first of their name or touched by an operator; of the others the share that fits.
 *
 * Capture notes how tasks end; the link asks `keeps` for each record as it reads them, in order. Without notes
 * unfinished tasks are left out only where nothing else fits.
 */
export class Flow implements Selection {
  readonly #share: number | undefined;
  readonly #log: FlowOptions['log'];
  readonly #onWatch: (on: boolean) => void;
  readonly #holdMs: number;
  readonly #tasks = new Tasks(MAX_TASKS);
  readonly #touched = new Set<number>();
  readonly #pressure: Pressure;
  #watching = false;
  #plan: Plan;
  /** Log-only events are left out, too. */
  #pressed = false;
  /** A connection is new: nothing is left out before it has been measured. */
  #fresh = false;
  #counts = nothing();
  #parts: Parts | undefined;
  /** Ends of the journal in the past, oldest first. */
  #past: { readonly at: number; readonly end: Position }[] = [];
  #readable: Position = 0;

  constructor({ share = 1, log, onWatch, windowMs, holdMs = 2000 }: FlowOptions) {
    this.#share = share < 1 ? share : undefined;
    this.#log = log;
    this.#onWatch = onWatch;
    this.#holdMs = holdMs;
    this.#pressure = new Pressure(windowMs);
    this.#plan = this.#calm;
    this.#watch(true);
  }

  /** Part of the successful tasks that is sent now. */
  get share(): number {
    return this.#current.share;
  }

  /** False: every record is kept, `keeps` need not be asked. */
  get active(): boolean {
    return this.#watching;
  }

  /** How a task began or ended, or that an operator acts on it; see `Watch`. */
  note(kind: number, task: number, remarkable: boolean): void {
    if (kind === TOUCHED) {
      this.#touch(task);
      return;
    }
    const known = this.#tasks.get(task);
    if (remarkable) this.#tasks.set(task, known | REMARKABLE | (kind === SUCCEEDED ? ENDED : 0));
    else if (kind === SUCCEEDED) this.#tasks.set(task, known | ENDED);
    // The same id once more is another run, of which the brain may know.
    else this.#tasks.set(task, known === 0 ? HERE : known & ~(ENDED | WHOLE | OUT));
  }

  /** Called whenever something may be read. */
  observe(standing: Standing): void {
    if (this.#share === undefined) this.#look(standing);
    if (this.#watching) this.#age(standing);
    const judged = this.#pressure.judge(standing);
    if (judged === undefined) return;
    const { made, load, turn } = judged;
    const { rate = 0 } = standing;
    this.#measure();
    this.#fresh = false;
    if (turn !== undefined) this.#tell(turn, rate, made);
    this.#pressed = this.#pressure.high && load > rate;
    this.#plan = this.#pressed ? plan(load, rate, this.#parts ?? UNKNOWN, this.#share) : this.#calm;
  }

  /** The connection ended: what is not confirmed is read again. */
  restarted(): void {
    this.#pressure.interrupt();
    this.#tasks.reread();
    this.#fresh = true;
    // While the brain is away, what waits grows.
    if (!this.#watching) this.#watch(true);
  }

  /** Position behind the last record that may be read now: who looks too early sees tasks that have not ended. */
  readable(end: Position): Position {
    return this.#share === undefined && !this.#leavesLog ? end : Math.min(this.#readable, end);
  }

  /** Whether the next record is to be sent; asked for each, in order. */
  keeps({ kind, task }: RecordMeta): boolean {
    const known = this.#tasks.get(task);
    if (task === 0 || kind > SUCCEEDED || (known & REMARKABLE) !== 0 || this.#touched.has(task)) {
      this.#counts.always++;
      return true;
    }
    const { share, depth } = this.#current;
    if (kind === SENT || (kind === RECEIVED && (known & READ) !== 0)) {
      this.#counts.log++;
      return !this.#leavesLog && ((known & ENDED) === 0 || isIn(task, known, share));
    }
    return (known & ENDED) === 0
      ? this.#keepsOpen(kind, task, known, chance(task) < share || depth !== 'waiting')
      : this.#keepsEnded(kind, task, known, isIn(task, known, share), depth);
  }

  /** Of a task that has not ended, or was forgotten. */
  #keepsOpen(kind: number, task: number, known: number, wanted: boolean): boolean {
    this.#counts.waiting++;
    if (kind === SUCCEEDED) return wanted || (known & TOLD) !== 0;
    this.#tasks.set(task, (known & ~READ) | (wanted ? TOLD | readOf(kind) : 0));
    return wanted;
  }

  #keepsEnded(kind: number, task: number, known: number, wanted: boolean, depth: Depth): boolean {
    if (kind === SUCCEEDED) {
      // A brain that was told of the beginning would show the task as running for ever.
      const told = (known & TOLD) !== 0;
      const elsewhere = (known & HERE) === 0;
      this.#counts[told ? 'always' : elsewhere ? 'ending' : 'success']++;
      return told || wanted || (elsewhere && depth === 'successes');
    }
    this.#counts.success++;
    this.#tasks.set(task, (known & ~READ) | (wanted ? WHOLE | TOLD | readOf(kind) : OUT));
    return wanted;
  }

  get #calm(): Plan {
    return this.#share === undefined ? EVERYTHING : { share: this.#share, depth: 'successes' };
  }

  /** Nothing is left out on a new connection before it was measured: the brain was away, and may take everything. */
  get #current(): Plan {
    return this.#fresh ? this.#calm : this.#plan;
  }

  get #leavesLog(): boolean {
    return this.#pressed && !this.#fresh;
  }

  #touch(task: number): void {
    this.#touched.add(task);
    for (const oldest of this.#touched) {
      if (this.#touched.size <= MAX_TOUCHED) break;
      this.#touched.delete(oldest);
    }
  }

  #watch(on: boolean): void {
    this.#watching = on;
    this.#onWatch(on);
  }

  /** Begins or ceases to look at tasks. */
  #look({ backlog, rate }: Standing): void {
    const much = Math.max((rate ?? 0) * WORTH_WATCHING, LEAST_BACKLOG);
    if (!this.#watching && backlog > much) {
      this.#watch(true);
    } else if (this.#watching && backlog < much / 4 && !this.#pressure.high) {
      this.#watch(false);
      this.#tasks.clear();
      this.#counts = nothing();
      this.#parts = undefined;
    }
  }

  /** What may be read while tasks are left out is as old as the hold. */
  #age({ now, end }: Standing): void {
    const past = this.#past;
    const last = past.at(-1);
    if (last === undefined || now - last.at >= this.#holdMs / 10) past.push({ at: now, end });
    while (past[0] !== undefined && now - past[0].at >= this.#holdMs) this.#readable = past.shift()?.end ?? 0;
  }

  /** Mixes what was read since the last time into what is known of its composition. */
  #measure(): void {
    const counts = this.#counts;
    const { always, waiting, ending, success, log } = counts;
    const all = always + waiting + ending + success + log;
    if (all === 0) return;
    this.#counts = nothing();
    const before = this.#parts;
    const mix = (part: keyof Parts): number =>
      before === undefined ? counts[part] / all : (before[part] + counts[part] / all) / 2;
    this.#parts = { always: mix('always'), waiting: mix('waiting'), ending: mix('ending'), success: mix('success') };
  }

  #tell(turn: 'begun' | 'over', rate: number, made: number): void {
    if (turn === 'over') {
      if (this.#log.over('flow')) this.#log.info('the brain keeps up again: everything is sent');
      return;
    }
    this.#log.once(
      'flow',
      'warn',
      `this process makes ${Math.round(made)} events/s and the brain takes ${Math.round(rate)}: some successful tasks are left out and counted, all others are sent; set Z4J_DELIVERY=complete to keep everything`,
    );
  }
}

const nothing = (): Record<Part, number> => ({ always: 0, waiting: 0, ending: 0, success: 0, log: 0 });

const readOf = (kind: number): number => (kind === RECEIVED ? READ : 0);

/** Whether a task that ended is in the share; once decided, it stays so. */
function isIn(task: number, known: number, share: number): boolean {
  return (known & WHOLE) !== 0 || ((known & OUT) === 0 && chance(task) < share);
}

/** 0 to 1, the same for a task in every process. */
function chance(task: number): number {
  const mixed = Math.imul(task ^ (task >>> 16), 0x45d9f3b);
  return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
}
