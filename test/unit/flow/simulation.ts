import { EVENT_KINDS } from '../../../src/dispatcher.js';
import type { EventKind } from '../../../src/engine.js';
import { Flow, type FlowOptions } from '../../../src/flow/flow.js';
import { Watch } from '../../../src/flow/watch.js';
import { memoryJournal } from '../../../src/journal/memory.js';
import { Outflow } from '../../../src/link/outflow.js';
import { createLog } from '../../../src/log.js';
import { taskHash } from '../../../src/task-ids.js';

export interface Told {
  readonly task: string;
  readonly kind: EventKind;
  /** Seconds between capture and arrival. */
  readonly late: number;
}

const STEP_MS = 10;

/** Capture, journal, outflow and a brain that takes so many events per second, in a time of their own. */
export class Simulation {
  readonly journal = memoryJournal({ maxBytes: 1 << 30 });
  readonly lines: string[] = [];
  readonly told: Told[] = [];
  readonly outflow: Outflow;
  readonly flow: Flow | undefined;
  readonly watch: Watch;
  connected = true;
  captured = 0;
  /** Milliseconds. */
  now = 0;
  readonly #perSecond: number;
  readonly #frames: { readonly id: string; readonly records: readonly Buffer[] }[] = [];
  /** When the frame at the front is done. */
  #doneAt: number | undefined;

  constructor(perSecond: number, options: Partial<FlowOptions> & { readonly complete?: boolean } = {}) {
    this.#perSecond = perSecond;
    this.watch = new Watch((...note) => this.flow?.note(...note));
    if (!options.complete) {
      this.flow = new Flow({
        log: createLog({ level: 'info', write: (line) => this.lines.push(line) }),
        onWatch: (on) => {
          this.watch.on = on;
        },
        ...options,
      });
    }
    this.outflow = new Outflow({
      journal: this.journal,
      now: () => this.now,
      onGivenUp: () => undefined,
      selection: this.flow,
    });
  }

  tell(kind: EventKind, task: string, { name = 'send', ms = 5 }: { name?: string; ms?: number } = {}): void {
    const index = EVENT_KINDS.indexOf(kind);
    const hash = task === '' ? 0 : taskHash('bullmq', task);
    if (this.watch.on) this.watch.captured(index, hash, kind === 'task.succeeded' ? ms : undefined, name);
    this.journal.append(JSON.stringify([task, kind, this.now]), { kind: index, task: hash });
    this.captured++;
  }

  /** Lets time pass; `each` is called every 10 ms with the seconds since the call. */
  run(seconds: number, each: (at: number) => void = () => undefined): void {
    const end = this.now + seconds * 1000;
    for (let at = 0; this.now < end; at += STEP_MS) {
      this.now += STEP_MS;
      each(at / 1000);
      if (this.connected) this.#turn();
    }
  }

  /** The connection ends; what was on its way is lost. */
  disconnect(): void {
    this.connected = false;
    this.#frames.length = 0;
    this.#doneAt = undefined;
    this.outflow.restart();
  }

  /** What the brain heard, by task; events it has already are left out as it does. */
  get tasks(): ReadonlyMap<string, readonly EventKind[]> {
    const tasks = new Map<string, EventKind[]>();
    for (const { task, kind } of this.told) {
      const known = tasks.get(task);
      if (known === undefined) tasks.set(task, [kind]);
      else if (!known.includes(kind)) known.push(kind);
    }
    return tasks;
  }

  #turn(): void {
    this.#send();
    while (this.#doneAt !== undefined && this.#doneAt <= this.now) {
      const frame = this.#frames.shift();
      for (const record of frame?.records ?? []) {
        const [task, kind, at] = JSON.parse(record.toString()) as [string, EventKind, number];
        this.told.push({ task, kind, late: (this.now - at) / 1000 });
      }
      this.outflow.ack(frame?.id ?? '');
      this.#begin(this.#doneAt);
      this.#send();
    }
  }

  #send(): void {
    for (let frame = this.outflow.next(1 << 20); frame !== undefined; frame = this.outflow.next(1 << 20)) {
      this.#frames.push(frame);
      if (this.#frames.length === 1) this.#begin(this.now);
    }
  }

  #begin(at: number): void {
    const [first] = this.#frames;
    this.#doneAt = first === undefined ? undefined : at + (first.records.length / this.#perSecond) * 1000;
  }
}

export const WHOLE: readonly EventKind[] = ['task.sent', 'task.received', 'task.started', 'task.succeeded'];

/** `perSecond` tasks that are enqueued, and run a moment later; `end` says how each ends. */
export function work(
  sim: Simulation,
  perSecond: number,
  {
    end = () => 'task.succeeded',
    ms = () => 5,
    name = () => 'send',
  }: Partial<{
    end: (number: number) => EventKind;
    ms: (number: number) => number;
    name: (number: number) => string;
  }> = {},
): (at: number) => void {
  let number = 0;
  let base = 0;
  const running: number[] = [];
  return (at) => {
    for (const one of running.splice(0)) sim.tell(end(one), `mail:${one}`, { ms: ms(one), name: name(one) });
    if (at === 0) base = number;
    for (; number - base < at * perSecond; number++) {
      for (const kind of WHOLE.slice(0, 3)) sim.tell(kind, `mail:${number}`);
      running.push(number);
    }
  };
}
