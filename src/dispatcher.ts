import { randomBytes } from 'node:crypto';
import type { EventData, EventKind, TaskEvent } from './engine.js';
import { shorten } from './identity.js';
import type { Journal, RecordMeta } from './journal/journal.js';
import type { NamedMember } from './literals.js';
import type { Redactor } from './redactor.js';
import { TaskIds } from './task-ids.js';

/** Order is the meaning of `RecordMeta.kind` in journals on disk: append only. */
export const EVENT_KINDS: readonly EventKind[] = [
  'task.sent',
  'task.received',
  'task.started',
  'task.succeeded',
  'task.failed',
  'task.retried',
  'task.revoked',
  'task.rejected',
  'worker.online',
  'worker.offline',
  'worker.heartbeat',
  'queue.depth_report',
  'schedule.run_started',
  'schedule.run_completed',
];

/** Per kind its index, and what stands in the text between the event's id and its time. */
const KINDS: ReadonlyMap<EventKind, { readonly index: number; readonly text: string }> = new Map(
  EVENT_KINDS.map((kind, index) => [kind, { index, text: `","kind":"${kind}","occurred_at":"` }]),
);
const PRIORITIES: ReadonlySet<unknown> = new Set(['critical', 'high', 'normal', 'low', undefined]);

// What a PostgreSQL brain's columns hold (protocol.md §4.1): a longer name would lose the event.
const MAX_ENGINE = 40;
const MAX_NAME = 500;
const MAX_QUEUE = 200;

/** Outside of this the brain puts its own time, another one at every delivery, and the event is no longer the same. */
const MAX_AGE = 399 * 86_400_000;
const MAX_AHEAD = 50_000;

/** Texts kept while nobody knows who this process is. */
const MAX_PENDING = 8 * 1024 * 1024;

/** Stands for the worker's name until it is known; nothing a host says can equal it. */
const PLACEHOLDER = `worker-${randomBytes(9).toString('hex')}`;

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Makes UUIDs of version 4: random for a process and what it counts, which costs a tenth of random ones. */
class EventIds {
  #series = '';
  #count = 0x10000;

  next(): string {
    if (this.#count === 0x10000) {
      const hex = randomBytes(14).toString('hex');
      this.#series = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(12, 15)}-8${hex.slice(15, 18)}-${hex.slice(18, 26)}`;
      this.#count = 0;
    }
    const count = this.#count++;
    return this.#series + HEX[count >> 8] + HEX[count & 0xff];
  }
}

/** Prints times as ISO 8601 with milliseconds; those that a brain would replace by its own are now. */
class Times {
  readonly #now: () => number;
  /** When the clock was looked at last. */
  #seen = Number.NaN;
  #time = Number.NaN;
  #text = '';
  #second = Number.NaN;
  #secondText = '';

  constructor(now: () => number) {
    this.#now = now;
  }

  print(at: number): string {
    const time = this.#within(at);
    if (time === this.#time) return this.#text;
    const second = Math.floor(time / 1000);
    if (second !== this.#second) {
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
      this.#second = second;
    }
    const ms = time - second * 1000;
    this.#text = `${this.#secondText}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z`;
    this.#time = time;
    return this.#text;
  }

  #within(at: number): number {
    const time = Math.floor(at);
    // Time goes on: what was not too far ahead at the last look is not now.
    if (time >= this.#seen && time <= this.#seen + MAX_AHEAD) return time;
    const now = this.#now();
    this.#seen = now;
    return time >= now - MAX_AGE && time <= now + MAX_AHEAD ? time : now;
  }
}

/** Sees what is captured; nothing that it does may throw. */
export interface CaptureWatch {
  /** False: it need not be told. */
  readonly on: boolean;
  /** `kind` and `task` as in `RecordMeta`. */
  captured(kind: number, task: number, runtimeMs: unknown, name: unknown): void;
}

/** The part of a process's identity that events carry. */
export interface WorkerNames {
  /** Name of the worker of `queue`, or of the engine's one worker for ''. */
  workerName(engine: string, queue: string): string;
}

export interface DispatcherOptions {
  readonly journal: Pick<Journal, 'append' | 'flush'>;
  readonly redactor: Redactor;
  /** Left out: events wait in memory, printed, until `identity` is set. */
  readonly identity?: WorkerNames | undefined;
  /** Milliseconds since the epoch; default `Date.now`. */
  readonly now?: (() => number) | undefined;
}

/** What a dispatcher has done so far. */
export interface DispatcherCounts {
  /** Events given to the journal. */
  readonly recorded: number;
  /** Events that could not be printed, or did not fit while the identity was unknown. */
  readonly dropped: number;
  /** Events waiting for the identity. */
  readonly pending: number;
}

interface Pending {
  readonly text: string;
  readonly meta: RecordMeta;
  readonly engine: string;
  readonly queue: string | undefined;
}

/**
 * Turns events into what is stored, signed and sent: redacted, printed once as canonical JSON, appended to the journal.
 * Batching is the link's work, which reads the journal; nothing is held back here.
 *
 *     const dispatcher = new Dispatcher({ journal, redactor: new Redactor(), identity });
 *     dispatcher.record({ kind: 'task.sent', engine: 'bullmq', taskId: 'mail:42', occurredAt: Date.now(), data: {} });
 */
export class Dispatcher {
  readonly #journal: Pick<Journal, 'append' | 'flush'>;
  readonly #redactor: Redactor;
  readonly #engines = new Map<string, string>();
  /** Told of every event before it is given to the journal. */
  watch: CaptureWatch | undefined;
  #identity: WorkerNames | undefined;
  #pending: Pending[] = [];
  #pendingLength = 0;
  #recorded = 0;
  #dropped = 0;
  #worker: string | undefined;
  #workerMember: NamedMember | undefined;
  readonly #ids = new EventIds();
  readonly #times: Times;
  readonly #tasks: TaskIds;

  constructor({ journal, redactor, identity, now = Date.now }: DispatcherOptions) {
    this.#journal = journal;
    this.#redactor = redactor;
    this.#identity = identity;
    this.#times = new Times(now);
    this.#tasks = new TaskIds(redactor);
  }

  /** Captures an event: what its values are now is what is sent. Never throws, never waits. */
  record(event: TaskEvent): void {
    try {
      this.#record(event);
    } catch {
      this.#dropped++;
    }
  }

  get identity(): WorkerNames | undefined {
    return this.#identity;
  }

  /** Completes the events that wait for the names of their workers, in their order. */
  set identity(identity: WorkerNames | undefined) {
    this.#identity = identity;
    if (identity === undefined) return;
    const pending = this.#pending;
    this.#pending = [];
    this.#pendingLength = 0;
    for (const { text, meta, engine, queue } of pending) {
      try {
        this.#append(queue === undefined ? text : this.#named(text, identity.workerName(engine, queue)), meta);
      } catch {
        this.#dropped++;
      }
    }
  }

  get counts(): DispatcherCounts {
    return {
      recorded: this.#recorded,
      dropped: this.#dropped,
      pending: this.#pending.length,
    };
  }

  /**
   * Resolves when the journal has written what was recorded. Whether it arrived is told by `journal.confirmed`. Events
   * that wait for the identity stay where they are.
   */
  async flush(): Promise<void> {
    this.#journal.flush();
  }

  #record(event: TaskEvent): void {
    const { kind, engine, taskId, workerOf } = event;
    const known = KINDS.get(kind);
    if (known === undefined) throw new TypeError(`Expected a known event kind, got \`${String(kind)}\``);
    const identity = this.#identity;
    const worker =
      workerOf === undefined ? undefined : this.#member(identity?.workerName(engine, workerOf) ?? PLACEHOLDER);
    const data = this.#redactor.printLiteral(this.#conform(event.data), worker);
    const task = this.#tasks.of(engine, taskId);
    const text = `{"data":${data}${this.#engine(engine)}${this.#ids.next()}${known.text}${this.#times.print(event.occurredAt)}","task_id":${task.text}}`;
    const meta = { kind: known.index, task: task.hash };
    if (this.watch?.on) this.watch.captured(known.index, task.hash, event.data.runtime_ms, event.data.task_name);
    if (identity !== undefined) this.#append(text, meta);
    else this.#wait({ text, meta, engine, queue: workerOf });
  }

  #append(text: string, meta: RecordMeta): void {
    this.#journal.append(text, meta);
    this.#recorded++;
  }

  #wait(event: Pending): void {
    this.#pending.push(event);
    this.#pendingLength += event.text.length;
    while (this.#pendingLength > MAX_PENDING) {
      this.#pendingLength -= (this.#pending.shift() as Pending).text.length;
      this.#dropped++;
    }
  }

  #named(text: string, worker: string): string {
    return text.replace(`"${PLACEHOLDER}"`, () => this.#redactor.print(shorten(worker, MAX_QUEUE)));
  }

  /** The name of a worker as a member of the data. */
  #member(worker: string): NamedMember {
    if (worker !== this.#worker || this.#workerMember === undefined) {
      const text = `"worker":${this.#redactor.print(shorten(worker, MAX_QUEUE))}`;
      this.#worker = worker;
      this.#workerMember = { name: 'worker', text, next: `,${text}` };
    }
    return this.#workerMember;
  }

  /** The data within the brain's limits; a copy only where something must change. */
  #conform(data: EventData): EventData {
    const { task_name, queue, worker_name, parent_task_id, root_task_id, priority } = data;
    if (
      fits(task_name, MAX_NAME) &&
      fits(queue, MAX_QUEUE) &&
      fits(worker_name, MAX_QUEUE) &&
      parent_task_id === undefined &&
      root_task_id === undefined &&
      PRIORITIES.has(priority)
    ) {
      return data;
    }
    return {
      ...data,
      task_name: shortened(task_name, MAX_NAME),
      queue: shortened(queue, MAX_QUEUE),
      worker_name: shortened(worker_name, MAX_QUEUE),
      parent_task_id: parent_task_id && this.#tasks.plain(parent_task_id),
      root_task_id: root_task_id && this.#tasks.plain(root_task_id),
      priority: PRIORITIES.has(priority) ? priority : 'normal',
    };
  }

  /** What stands in the text between the data and the event's id. */
  #engine(engine: string): string {
    let text = this.#engines.get(engine);
    if (text === undefined) {
      text = `,"engine":${this.#redactor.print(shorten(engine, MAX_ENGINE))},"id":"`;
      if (this.#engines.size >= 100) this.#engines.clear();
      this.#engines.set(engine, text);
    }
    return text;
  }
}

function fits(text: string | undefined, max: number): boolean {
  return text === undefined || text.length <= max;
}

function shortened(text: string | undefined, max: number): string | undefined {
  return typeof text === 'string' ? shorten(text, max) : text;
}
