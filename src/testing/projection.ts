/** One event as the stub stored it: what was accepted, in order of arrival, without duplicates. */
export interface StubEvent {
  /** `task_sent`, `worker_online` …: the kind with an underscore. */
  readonly eventType: string;
  /** `task.sent`, `worker.online` …, as on the wire. */
  readonly kind: string;
  readonly id: string;
  readonly engine: string;
  readonly taskId: string;
  readonly occurredAt: Date;
  readonly data: { readonly [key: string]: unknown };
}

export type TaskState = 'received' | 'started' | 'retry' | 'success' | 'failure' | 'revoked';

/** A row of the Tasks page. */
export interface StubTask {
  engine: string;
  taskId: string;
  name: string;
  queue: string | null;
  state: TaskState;
  priority: string;
  args: unknown;
  kwargs: unknown;
  result: unknown;
  exception: string | null;
  traceback: string | null;
  retryCount: number;
  runtimeMs: number | null;
  workerName: string | null;
  parentTaskId: string | null;
  rootTaskId: string | null;
  receivedAt: Date | null;
  startedAt: Date | null;
  finishedAt: Date | null;
}

/** A row of the Workers page; a brain never sets one offline. */
export interface StubWorker {
  readonly engine: string;
  readonly name: string;
  lastHeartbeat: Date;
  concurrency: number | null;
  /** Whether a brain would let an operator control it: some `worker.*` event named it (protocol.md §4.6). */
  reported: boolean;
}

const STATES: { readonly [kind: string]: TaskState } = {
  'task.received': 'received',
  'task.started': 'started',
  'task.retried': 'retry',
  'task.succeeded': 'success',
  'task.failed': 'failure',
  'task.revoked': 'revoked',
};

const PRIORITIES = new Set(['critical', 'high', 'normal', 'low']);
const FUTURE_MS = 60_000;
const PAST_MS = 400 * 86_400_000;

type Fields = { readonly [key: string]: unknown };

function fields(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

/** One task id: its row, and the kinds and seconds that were taken, in turn. */
interface TaskEntry {
  task: StubTask | undefined;
  readonly seen: (string | number)[];
}

interface EngineRows {
  readonly tasks: Map<string, TaskEntry>;
  readonly workers: Map<string, StubWorker>;
}

/** What a brain makes of events: rows of tasks, workers and queues (protocol.md §4.2–4.6). */
export class Projection {
  readonly events: StubEvent[] = [];
  readonly queues = new Set<string>();
  readonly #engines = new Map<string, EngineRows>();
  /** Ids of events that are not about a task. */
  readonly #ids = new Set<string>();

  tasks(): StubTask[] {
    return [...this.#engines.values()].flatMap(({ tasks }) =>
      [...tasks.values()].flatMap(({ task }) => (task === undefined ? [] : [task])),
    );
  }

  workers(): StubWorker[] {
    return [...this.#engines.values()].flatMap(({ workers }) => [...workers.values()]);
  }

  /** Takes one event of a batch; false when a brain would count it as rejected (malformed or a duplicate). */
  take(raw: unknown, now: number): boolean {
    const event = fields(raw);
    const engine = text(event?.engine)?.trim();
    const kind = text(event?.kind)?.trim();
    if (event === undefined || !engine || !kind || engine.length > 40) return false;
    const taskId = (text(event.task_id) ?? '').trim();
    if (taskId.length > 200) return false;
    const id = text(event.id) ?? '';
    let at = typeof event.occurred_at === 'string' ? Date.parse(event.occurred_at) : Number.NaN;
    if (!(at <= now + FUTURE_MS && at >= now - PAST_MS)) at = now;
    const rows = this.#rows(engine);
    let entry: TaskEntry | undefined;
    if (taskId === '') {
      if (this.#ids.has(id)) return false;
      this.#ids.add(id);
    } else {
      entry = rows.tasks.get(taskId);
      if (entry === undefined) {
        entry = { task: undefined, seen: [] };
        rows.tasks.set(taskId, entry);
      }
      const second = Math.floor(at / 1000);
      for (let i = 0; i < entry.seen.length; i += 2) {
        if (entry.seen[i] === kind && entry.seen[i + 1] === second) return false;
      }
      entry.seen.push(kind, second);
    }
    const data = fields(event.data) ?? {};
    const occurredAt = new Date(at);
    this.events.push({ eventType: kind.replace('.', '_'), kind, id, engine, taskId, occurredAt, data });
    const queue = text(data.queue);
    if (queue !== null) this.queues.add(queue);
    const worker = text(data.worker);
    if (worker !== null) touch(rows, engine, worker, occurredAt).reported ||= kind.startsWith('worker.');
    const state = STATES[kind];
    if (state !== undefined && entry !== undefined) project(entry, engine, taskId, state, occurredAt, data);
    return true;
  }

  /** Takes the figures of a heartbeat: workers and queues. */
  heartbeat(payload: Fields, now: Date): void {
    for (const [key, value] of Object.entries(fields(payload.adapter_health) ?? {})) {
      const [engine = '', suffix] = key.split('.', 2);
      if (typeof value !== 'string' || engine === '') continue;
      if (suffix === 'queue_depths') {
        for (const queue of Object.keys(fields(parse(value)) ?? {})) this.queues.add(queue);
      }
      if (suffix !== 'worker_details') continue;
      for (const [name, details] of Object.entries(fields(parse(value)) ?? {})) {
        const pool = fields(fields(fields(details)?.stats)?.pool);
        touch(this.#rows(engine), engine, name, now).concurrency =
          Number(pool?.['max-concurrency'] ?? Number.NaN) || null;
      }
    }
  }

  #rows(engine: string): EngineRows {
    let rows = this.#engines.get(engine);
    if (rows === undefined) {
      rows = { tasks: new Map(), workers: new Map() };
      this.#engines.set(engine, rows);
    }
    return rows;
  }
}

function touch({ workers }: EngineRows, engine: string, name: string, at: Date): StubWorker {
  let worker = workers.get(name);
  if (worker === undefined) {
    worker = { engine, name, lastHeartbeat: at, concurrency: null, reported: false };
    workers.set(name, worker);
  }
  if (at > worker.lastHeartbeat) worker.lastHeartbeat = at;
  return worker;
}

function project(entry: TaskEntry, engine: string, taskId: string, state: TaskState, at: Date, data: Fields): void {
  const terminal = state === 'success' || state === 'failure' || state === 'revoked';
  if (entry.task === undefined) entry.task = newTask(engine, taskId, state, data);
  else if (!mayApply(entry.task, terminal, at)) return;
  const { task } = entry;
  task.state = state;
  if (typeof data.priority === 'string') task.priority = PRIORITIES.has(data.priority) ? data.priority : 'normal';
  apply(task, state, at, data);
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function newTask(engine: string, taskId: string, state: TaskState, data: Fields): StubTask {
  return {
    engine,
    taskId,
    name: text(data.task_name) ?? 'unknown',
    queue: text(data.queue),
    state,
    priority: 'normal',
    args: null,
    kwargs: null,
    result: null,
    exception: null,
    traceback: null,
    retryCount: 0,
    runtimeMs: null,
    workerName: null,
    parentTaskId: null,
    rootTaskId: null,
    receivedAt: null,
    startedAt: null,
    finishedAt: null,
  };
}

function mayApply(task: StubTask, terminal: boolean, at: Date): boolean {
  const finished = task.state === 'success' || task.state === 'failure' || task.state === 'revoked';
  if (finished) return terminal && !(task.finishedAt !== null && at < task.finishedAt);
  if (terminal) return true;
  return [task.receivedAt, task.startedAt, task.finishedAt].every((stored) => stored === null || at >= stored);
}

function apply(task: StubTask, state: TaskState, at: Date, data: Fields): void {
  const runtime = Number(data.runtime_ms ?? Number.NaN);
  switch (state) {
    case 'received':
      task.receivedAt = at;
      task.args = data.args ?? null;
      task.kwargs = data.kwargs ?? null;
      task.name = text(data.task_name) ?? 'unknown';
      task.queue = text(data.queue);
      task.parentTaskId = text(data.parent_task_id);
      task.rootTaskId = text(data.root_task_id);
      break;
    case 'started':
      task.startedAt = at;
      task.workerName = text(data.worker);
      break;
    case 'retry':
      task.retryCount = Number.isInteger(data.retry_count) ? (data.retry_count as number) : 0;
      break;
    case 'success':
      task.finishedAt = at;
      task.result = data.result ?? null;
      task.runtimeMs = Number.isFinite(runtime) ? Math.trunc(runtime) : null;
      task.exception = null;
      task.traceback = null;
      break;
    case 'failure':
      task.finishedAt = at;
      task.result = null;
      task.runtimeMs = Number.isFinite(runtime) ? Math.trunc(runtime) : task.runtimeMs;
      task.exception = text(data.exception)?.slice(0, 8192) ?? null;
      task.traceback = text(data.traceback)?.slice(0, 8192) ?? null;
      break;
    case 'revoked':
      task.finishedAt = at;
      task.result = null;
      task.runtimeMs = null;
      task.exception = null;
      task.traceback = null;
      break;
  }
}
