import { createHash, randomBytes } from 'node:crypto';
import type { EventData, EventKind, TaskEvent } from './engine.js';
import { shorten } from './identity.js';
import type { Journal, RecordMeta } from './journal/journal.js';
import { REDACTED, type Redactor } from './redactor.js';

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

const KIND_INDEX: ReadonlyMap<EventKind, number> = new Map(EVENT_KINDS.map((kind, index) => [kind, index]));
const PRIORITIES: ReadonlySet<unknown> = new Set(['critical', 'high', 'normal', 'low', undefined]);
const REDACTED_TEXT = `"${REDACTED}"`;

// What a PostgreSQL brain's columns hold (protocol.md §4.1): a longer name would lose the event.
const MAX_ENGINE = 40;
const MAX_ID = 200;
const MAX_NAME = 500;
const MAX_QUEUE = 200;

/** Outside of this the brain puts its own time, another one at every delivery, and the event is no longer the same. */
const MAX_AGE = 399 * 86_400_000;
const MAX_AHEAD = 50_000;

/** Texts kept while nobody knows who this process is. */
const MAX_PENDING = 8 * 1024 * 1024;

/** Stands for the worker's name until it is known; nothing a host says can equal it. */
const PLACEHOLDER = `worker-${randomBytes(9).toString('hex')}`;

/** What no task id may hold: REST paths know no slash, databases no control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSAFE = /[/\u0000-\u001f\u007f]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSAFE_ALL = /[/\u0000-\u001f\u007f]/g;

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
    return this.#series + (0x10000 + this.#count++).toString(16).slice(1);
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
  readonly #now: () => number;
  readonly #engines = new Map<string, string>();
  /** Told of every event before it is given to the journal. */
  watch: CaptureWatch | undefined;
  #identity: WorkerNames | undefined;
  #pending: Pending[] = [];
  #pendingLength = 0;
  #recorded = 0;
  #dropped = 0;
  #second = Number.NaN;
  #secondText = '';
  #worker: string | undefined;
  #workerText = '';
  readonly #ids = new EventIds();
  #lastId: string | undefined;
  #lastIdText = '';

  constructor({ journal, redactor, identity, now = Date.now }: DispatcherOptions) {
    this.#journal = journal;
    this.#redactor = redactor;
    this.#identity = identity;
    this.#now = now;
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
    const index = KIND_INDEX.get(kind);
    if (index === undefined) throw new TypeError(`Expected a known event kind, got \`${String(kind)}\``);
    const identity = this.#identity;
    const worker =
      workerOf === undefined
        ? undefined
        : identity === undefined
          ? PLACEHOLDER
          : shorten(identity.workerName(engine, workerOf), MAX_QUEUE);
    const data = this.#print(this.#conform(event.data), worker);
    const text = `{"data":${data},"engine":${this.#engine(engine)},"id":"${this.#ids.next()}","kind":"${kind}","occurred_at":"${this.#time(event.occurredAt)}","task_id":${this.#id(taskId)}}`;
    const meta = { kind: index, task: taskId === '' ? 0 : taskHash(engine, taskId) };
    if (this.watch?.on) this.watch.captured(index, meta.task, event.data.runtime_ms, event.data.task_name);
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

  /** The data and the worker's name; that comes last of what events usually have, so a copy is rarely needed. */
  #print(data: EventData, worker: string | undefined): string {
    if (worker === undefined) return this.#redactor.print(data, 1);
    for (const key in data) {
      if (key >= 'worker') return this.#redactor.print({ ...data, worker }, 1);
    }
    const text = this.#redactor.print(data, 1);
    if (!text.startsWith('{')) return text;
    if (worker !== this.#worker) {
      this.#worker = worker;
      this.#workerText = `"worker":${this.#redactor.print(worker)}}`;
    }
    return text === '{}' ? `{${this.#workerText}` : `${text.slice(0, -1)},${this.#workerText}`;
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
      parent_task_id: parent_task_id && this.#plainId(parent_task_id),
      root_task_id: root_task_id && this.#plainId(root_task_id),
      priority: PRIORITIES.has(priority) ? priority : 'normal',
    };
  }

  #engine(engine: string): string {
    let text = this.#engines.get(engine);
    if (text === undefined) {
      text = this.#redactor.print(shorten(engine, MAX_ENGINE));
      if (this.#engines.size >= 100) this.#engines.clear();
      this.#engines.set(engine, text);
    }
    return text;
  }

  /** A printed task id. One that reads as a secret (a job named after a mail address) stays one of its own. */
  #id(id: string): string {
    if (id !== this.#lastId) {
      const text = this.#redactor.print(safe(id));
      this.#lastIdText = text === REDACTED_TEXT ? `"${hidden(id)}"` : text;
      this.#lastId = id;
    }
    return this.#lastIdText;
  }

  #plainId(id: string): string {
    const plain = safe(id);
    return this.#redactor.print(plain) === REDACTED_TEXT ? hidden(id) : plain;
  }

  /** ISO 8601 with milliseconds; the part up to the second is printed once a second. */
  #time(at: number): string {
    const now = this.#now();
    const time = at >= now - MAX_AGE && at <= now + MAX_AHEAD ? Math.floor(at) : now;
    const second = Math.floor(time / 1000);
    if (second !== this.#second) {
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
      this.#second = second;
    }
    const ms = time - second * 1000;
    return `${this.#secondText}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z`;
  }
}

function fits(text: string | undefined, max: number): boolean {
  return text === undefined || text.length <= max;
}

function shortened(text: string | undefined, max: number): string | undefined {
  return typeof text === 'string' ? shorten(text, max) : text;
}

/** Task ids come safe from the engines; one that is not would lose the event or could not be addressed. */
function safe(id: string): string {
  return shorten(UNSAFE.test(id) ? id.replace(UNSAFE_ALL, encodeURIComponent) : id, MAX_ID);
}

function hidden(id: string): string {
  return `redacted-${createHash('sha256').update(id).digest('hex').slice(0, 20)}`;
}

/** FNV-1a; never 0, which means: about no task. */
export function taskHash(engine: string, taskId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < engine.length; i++) hash = Math.imul(hash ^ engine.charCodeAt(i), 0x01000193);
  for (let i = 0; i < taskId.length; i++) hash = Math.imul(hash ^ taskId.charCodeAt(i), 0x01000193);
  return hash >>> 0 || 1;
}
