import {
  CommandError,
  hub,
  type JsonValue,
  quietly,
  type Schedule,
  type ScheduleDefinition,
  type ScheduleOperation,
  type Scheduler,
  type SchedulesMemory,
} from '../../src/engine.js';
import { exceptionText, localZone, shorten } from '../common.js';
import type { ForeignQueueBase } from './foreign.js';
import { payload, priorityLabel, revoked, schedulerKey, taskId } from './map.js';
import { type OperableQueue, operable } from './operable.js';
import { liveOf, placeOf } from './registry.js';

/** How a job scheduler repeats: milliseconds, or a cron text. */
interface Repeat {
  readonly every?: number | undefined;
  readonly pattern?: string | undefined;
  readonly tz?: string | undefined;
  readonly limit?: number | undefined;
  readonly startDate?: number | undefined;
  readonly endDate?: number | undefined;
}

interface Template {
  readonly data?: unknown;
  readonly opts?: { readonly priority?: number; readonly [option: string]: unknown };
}

/** A job scheduler as its getters tell it, or as it was before it was disabled. */
interface JobScheduler extends Repeat {
  readonly key: string;
  readonly name: string;
  readonly next?: number | null | undefined;
  readonly iterationCount?: number | undefined;
  readonly template?: Template | undefined;
}

interface SchedulingQueue extends OperableQueue {
  readonly client?: Promise<Client>;
  toKey?(type: string): string;
  getBackend?(): { readonly client?: Promise<Client> };
  getDelayed(): Promise<Awaited<ReturnType<OperableQueue['getFailed']>>>;
  getJobSchedulers?(start: number, end: number, asc: boolean): Promise<JobScheduler[]>;
  getRepeatableJobs?(start: number, end: number, asc: boolean): Promise<RepeatableJob[]>;
  removeJobScheduler?(key: string): Promise<boolean>;
  removeRepeatableByKey?(key: string): Promise<boolean>;
  upsertJobScheduler?(key: string, repeat: Repeat, template: { name: string } & Template): Promise<unknown>;
}

interface RepeatableJob {
  readonly key: string;
  readonly name: string;
  readonly pattern?: string | null;
  readonly every?: string | number | null;
  readonly tz?: string | null;
  readonly next: number;
}

/** Redis clients of both spellings. */
interface Client {
  hget?(key: string, field: string): Promise<string | null>;
  hset?(key: string, field: string, value: string): Promise<unknown>;
  hdel?(key: string, field: string): Promise<unknown>;
  hgetall?(key: string): Promise<{ [field: string]: string }>;
  hGet?(key: string, field: string): Promise<string | null>;
  hSet?(key: string, field: string, value: string): Promise<unknown>;
  hDel?(key: string, field: string): Promise<unknown>;
  hGetAll?(key: string): Promise<{ [field: string]: string }>;
}

interface Entry {
  readonly queue: SchedulingQueue;
  readonly label: string;
  readonly scheduler: JobScheduler;
  readonly enabled: boolean;
}

const MAX_NAME = 200;

const nameOf = (label: string, key: string): string => shorten(`${label}:${key}`, MAX_NAME);

/** A hash in the broker; undefined where the broker is no Redis. */
async function hashOf(queue: SchedulingQueue, key: string) {
  const client = await (queue.getBackend?.().client ?? queue.client);
  const [get, set, del, all] =
    client?.hset === undefined
      ? [client?.hGet, client?.hSet, client?.hDel, client?.hGetAll]
      : [client.hget, client.hset, client.hdel, client.hgetall];
  if (get === undefined || set === undefined || del === undefined || all === undefined) return undefined;
  return {
    get: (field: string) => get.call(client, key, field),
    set: (field: string, value: string) => set.call(client, key, field, value),
    remove: (field: string) => del.call(client, key, field),
    all: () => all.call(client, key),
  };
}

/** BullMQ knows no disabled scheduler: it is taken out, and kept here until it is enabled. */
const disabledOf = (queue: SchedulingQueue) => hashOf(queue, queue.toKey?.('z4j:disabled') ?? '');

function fromRepeatable({ key, name, pattern, every, tz, next }: RepeatableJob): JobScheduler {
  return {
    key,
    name,
    next,
    pattern: pattern ?? undefined,
    every: every ? Number(every) : undefined,
    tz: tz ?? undefined,
  };
}

async function entriesOf(queue: SchedulingQueue, label: string): Promise<Entry[]> {
  const native = queue.getJobSchedulers?.(0, -1, true);
  const found = native ? await native : ((await queue.getRepeatableJobs?.(0, -1, true)) ?? []).map(fromRepeatable);
  const entries = found.map((scheduler) => ({ queue, label, scheduler, enabled: true }));
  const kept = native ? Object.values((await (await disabledOf(queue))?.all()) ?? {}) : [];
  const known = new Set(found.map(({ key }) => key));
  for (const text of kept) {
    const scheduler = JSON.parse(text) as JobScheduler;
    if (!known.has(scheduler.key)) entries.push({ queue, label, scheduler, enabled: false });
  }
  return entries;
}

function rowOf({ queue, label, scheduler, enabled }: Entry): Schedule {
  const { key, name, pattern, every, tz, next, iterationCount, template } = scheduler;
  return {
    name: nameOf(label, key),
    taskName: name || key,
    kind: pattern ? 'cron' : 'interval',
    expression: pattern ?? String((every ?? 0) / 1000),
    timezone: tz ?? (pattern ? localZone() : undefined),
    queue: label,
    priority: priorityLabel(template?.opts?.priority),
    args: template === undefined ? [] : [template.data],
    kwargs: {},
    enabled,
    nextRunAt: enabled ? (next ?? undefined) : undefined,
    totalRuns: iterationCount ?? 0,
    source: queue.getJobSchedulers === undefined ? 'bullmq:repeatable' : 'bullmq:scheduler',
  };
}

function repeatOf({ kind, expression, timezone }: ScheduleDefinition, before: Repeat = {}): Repeat {
  const isCron = kind === undefined ? before.pattern !== undefined : kind === 'cron';
  if (kind === 'clocked')
    throw new CommandError('unsupported', 'BullMQ repeats: for one run at a time submit a task with eta');
  const { limit, startDate, endDate } = before;
  const kept = Object.fromEntries(Object.entries({ limit, startDate, endDate }).filter(([, value]) => value));
  if (isCron) {
    const pattern = expression ?? before.pattern;
    const tz = timezone ?? before.tz;
    return { ...kept, pattern, ...(tz === undefined ? {} : { tz }) };
  }
  const every = expression === undefined ? before.every : Math.round(Number(expression) * 1000);
  if (every === undefined || !Number.isFinite(every) || every < 1) {
    throw new CommandError('invalid', `Expected \`expression\` to be seconds, got ${expression}`);
  }
  return { ...kept, every };
}

function dataOf({ args, kwargs }: ScheduleDefinition, before: unknown): unknown {
  return args === undefined && kwargs === undefined ? before : payload(args, kwargs);
}

/** The job schedulers of the queues that an engine has workers on. */
export class BullMQScheduler implements Scheduler {
  readonly #engine: string;
  readonly #listeners = new Set<() => void>();

  constructor(engine: string) {
    this.#engine = engine;
  }

  get operations(): readonly ScheduleOperation[] {
    const workers = liveOf(this.#engine).workers;
    const isNative = workers.some(({ worker }) => 'jobScheduler' in worker);
    return isNative
      ? ['create', 'update', 'delete', 'enable', 'disable', 'trigger_now']
      : workers.length > 0
        ? ['delete', 'trigger_now']
        : [];
  }

  async list(): Promise<readonly Schedule[]> {
    return (await this.#entries()).map(rowOf);
  }

  serves(): boolean {
    return liveOf(this.#engine).workers.some(({ worker }) => !worker.closing);
  }

  async create(definition: ScheduleDefinition): Promise<string> {
    return this.#act(async () => {
      const { name = '', taskName } = definition;
      const queues = await this.#queues();
      const label = [...queues.keys()].find((candidate) => name.startsWith(`${candidate}:`));
      const queue = label === undefined ? undefined : queues.get(label);
      if (label === undefined || queue?.upsertJobScheduler === undefined || taskName === undefined) {
        const known = [...queues.keys()].join(', ') || 'none';
        throw new CommandError('invalid', `Name it queue:key, with a task name; queues with a worker here: ${known}`);
      }
      if (typeof definition.queue === 'string' && definition.queue !== label) {
        throw new CommandError('invalid', `the name says queue ${label}, the definition ${definition.queue}`);
      }
      const key = name.slice(label.length + 1);
      if ((await entriesOf(queue, label)).some(({ scheduler }) => scheduler.key === key)) {
        throw new CommandError('conflict', `there is a schedule ${name}`);
      }
      await queue.upsertJobScheduler(key, repeatOf(definition), { name: taskName, data: dataOf(definition, {}) });
      if (definition.enabled === false) await this.#disable(await this.#entry(name));
      return name;
    });
  }

  async update(name: string, definition: ScheduleDefinition): Promise<void> {
    await this.#act(async () => {
      const entry = await this.#entry(name);
      const { queue, label, scheduler } = entry;
      if (queue.upsertJobScheduler === undefined)
        throw new CommandError('unsupported', 'BullMQ before 5.16 cannot change a schedule');
      if (definition.name !== undefined && definition.name !== name) {
        throw new CommandError('unsupported', 'a BullMQ schedule keeps its name: create another and delete this one');
      }
      if (typeof definition.queue === 'string' && definition.queue !== label) {
        throw new CommandError('unsupported', 'a BullMQ schedule keeps its queue: create another and delete this one');
      }
      const { kind, expression, timezone, taskName, args, kwargs } = definition;
      const isChanged = [kind, expression, timezone, taskName, args, kwargs].some((value) => value !== undefined);
      const template = { ...scheduler.template, data: dataOf(definition, scheduler.template?.data) };
      const wanted = {
        ...scheduler,
        ...(isChanged ? { every: undefined, pattern: undefined, ...repeatOf(definition, scheduler) } : {}),
        name: taskName ?? scheduler.name,
        template,
      };
      const enabled = definition.enabled ?? entry.enabled;
      if (!enabled) await this.#disable({ ...entry, scheduler: wanted });
      else if (isChanged || !entry.enabled) await this.#enable({ ...entry, scheduler: wanted });
    });
  }

  async delete(name: string): Promise<void> {
    await this.#act(async () => {
      const { queue, scheduler, enabled } = await this.#entry(name);
      if (enabled) await this.#remove(queue, scheduler);
      if (queue.getJobSchedulers !== undefined) await (await disabledOf(queue))?.remove(scheduler.key);
    });
  }

  /** Adds a job of the same kind; the plan stays as it is (promoting the waiting one would use its slot). */
  async trigger(name: string): Promise<JsonValue> {
    return this.#act(async () => {
      const { queue, label, scheduler } = await this.#entry(name);
      let { template } = scheduler;
      if (template === undefined) {
        const pending = (await queue.getDelayed()).find(
          (job) => schedulerKey(job) === scheduler.key || job.name === scheduler.name,
        );
        if (pending === undefined)
          throw new CommandError('conflict', `${name} has no waiting job that would tell its data`);
        template = { data: pending.data, opts: pending.opts as NonNullable<Template['opts']> };
      }
      const { repeat, repeatJobKey, jobId, delay, timestamp, prevMillis, ...options } = template.opts ?? {};
      const job = await queue.add(scheduler.name, template.data ?? {}, options);
      return { task_id: taskId(label, job.id ?? ''), engine: this.#engine };
    });
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  memory(owner: string): SchedulesMemory | undefined {
    const [live] = liveOf(this.#engine).workers;
    if (live === undefined) return undefined;
    const prefix = live.worker.opts?.prefix ?? 'bull';
    const shown = async () => {
      const hash = await hashOf((await this.#open(live.worker)) as SchedulingQueue, `${prefix}:z4j:shown`);
      if (hash === undefined) throw new CommandError('unsupported', 'this backend keeps no texts of ours');
      return hash;
    };
    return {
      load: () => quietly(async () => (await (await shown()).get(owner)) ?? undefined),
      save: (text) => quietly(async () => void (await (await shown()).set(owner, text))),
    };
  }

  async #open(object: ForeignQueueBase): Promise<SchedulingQueue> {
    const queue = await operable(object);
    if (queue !== undefined) return queue as SchedulingQueue;
    throw new CommandError('unsupported', "BullMQ's Queue is not loaded in this process: import it beside Worker");
  }

  async #queues(): Promise<Map<string, SchedulingQueue>> {
    const queues = new Map<string, SchedulingQueue>();
    const live = liveOf(this.#engine);
    const own = new Map(live.queues.map((queue) => [placeOf(queue).queue, queue]));
    for (const { worker } of live.workers) {
      const { queue } = placeOf(worker);
      if (!worker.closing && !queues.has(queue)) queues.set(queue, await this.#open(own.get(queue) ?? worker));
    }
    return queues;
  }

  #entries(): Promise<readonly Entry[]> {
    return this.#act(async () => {
      const queues = await this.#queues();
      return (await Promise.all([...queues].map(([label, queue]) => entriesOf(queue, label)))).flat();
    });
  }

  async #entry(name: string): Promise<Entry> {
    const entry = (await this.#entries()).find(({ label, scheduler }) => nameOf(label, scheduler.key) === name);
    if (entry !== undefined) return entry;
    throw new CommandError('not_found', `no worker of this process serves a queue with a schedule ${name}`);
  }

  async #disable({ queue, scheduler, enabled }: Entry): Promise<void> {
    const kept = await disabledOf(queue);
    if (kept === undefined)
      throw new CommandError('unsupported', 'this backend cannot keep a disabled schedule: delete it');
    await kept.set(scheduler.key, JSON.stringify(scheduler));
    if (enabled) await this.#remove(queue, scheduler);
  }

  async #enable({ queue, scheduler, enabled }: Entry): Promise<void> {
    const { key, name, template } = scheduler;
    await queue.upsertJobScheduler?.(key, repeatOf({}, scheduler), { name, ...template });
    if (!enabled) await (await disabledOf(queue))?.remove(key);
  }

  /** Its waiting job goes with it. */
  async #remove(queue: SchedulingQueue, { key, next }: JobScheduler): Promise<void> {
    if (queue.removeJobScheduler === undefined) {
      await queue.removeRepeatableByKey?.(key);
      return;
    }
    await queue.removeJobScheduler(key);
    if (next) hub.record(revoked(placeOf(queue), `repeat:${key}:${next}`, undefined, Date.now(), 'schedule removed'));
  }

  async #act<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await quietly(run);
    } catch (error) {
      if (error instanceof CommandError) throw error;
      throw new CommandError('failed', `BullMQ refused: ${exceptionText(error)}`, { cause: error });
    }
  }
}
