import {
  type Action,
  type Command,
  type CommandContext,
  type Engine,
  type EngineHealth,
  type EngineHost,
  hub,
  type Inventory,
  type JsonValue,
  quietly,
  type WorkerDetails,
} from '../../src/engine.js';
import { taskId } from './map.js';
import { depthOf, operable } from './operable.js';
import { addEngine, type LiveWorker, liveOf, placeOf, registry } from './registry.js';
import { BullMQScheduler } from './scheduler.js';

export interface BullMQEngineOptions {
  /** The connection of the queues and workers that belong to it: their options, client or URL. */
  readonly connection?: unknown;
  /** Key prefix of those queues; default `bull`. */
  readonly prefix?: string | undefined;
  /** The brain shows the engine as `bullmq-<namespace>`; without, as `bullmq`. */
  readonly namespace?: string | undefined;
}

const QUEUE_ACTIONS: readonly Action[] = [
  'submit_task',
  'retry_task',
  'bulk_retry',
  'cancel_task',
  'requeue_dead_letter',
  'dlq.list',
  'purge_queue',
  'reconcile_task',
  'rate_limit',
];
const WORKER_ACTIONS: readonly Action[] = [
  'pool_grow',
  'pool_shrink',
  'add_consumer',
  'cancel_consumer',
  'restart_worker',
];
const NAMESPACE = /^[A-Za-z0-9_-]{1,33}$/;
type Commands = typeof import('./commands.js');

let commands: Promise<Commands> | undefined;

/** Once: each `import()` may ask the thread of the loaders anew, which is slower than the broker. */
function loadCommands(): Promise<Commands> {
  commands ??= import('./commands.js').catch((cause: unknown) => {
    commands = undefined;
    throw cause;
  });
  return commands;
}

const EVIDENCE_EVERY = 12 * 60 * 60 * 1000;

/**
 * BullMQ as the brain knows it. One without a connection stands for all queues that belong to no other; it is made by
 * itself when the first queue or worker appears.
 *
 * @throws TypeError when the namespace has other characters than letters, digits, `_` and `-`, or more than 33.
 */
export class BullMQEngine implements Engine {
  readonly name: string;
  readonly connection: unknown;
  readonly prefix: string | undefined;
  readonly scheduler: BullMQScheduler;
  #host: EngineHost | undefined;
  #evidence: NodeJS.Timeout | undefined;
  #busy = false;

  constructor({ connection, prefix, namespace }: BullMQEngineOptions = {}) {
    if (namespace !== undefined && !NAMESPACE.test(namespace)) {
      throw new TypeError(
        `Expected \`namespace\` to be up to 33 letters, digits, _ or -, got \`${namespace}\` (${typeof namespace})`,
      );
    }
    this.name = namespace === undefined ? 'bullmq' : `bullmq-${namespace}`;
    this.connection = connection;
    this.prefix = prefix;
    this.scheduler = new BullMQScheduler(this.name);
    addEngine(this);
  }

  get version(): string | undefined {
    return registry.version;
  }

  actions(): readonly Action[] {
    return liveOf(this.name).workers.some(({ online }) => online)
      ? [...QUEUE_ACTIONS, ...WORKER_ACTIONS]
      : QUEUE_ACTIONS;
  }

  inventory(): Inventory {
    const { queues, workers } = liveOf(this.name);
    const places = new Set([...queues, ...workers.map(({ worker }) => worker)].map((queue) => placeOf(queue)));
    const names = workers.flatMap(({ worker }) => this.#host?.workerName(placeOf(worker).queue) ?? []);
    return {
      queues: [...places].map(({ queue }) => queue),
      tasks: [...new Set([...places].flatMap(({ tasks }) => [...tasks]))],
      workers: [...new Set(names)],
    };
  }

  start(host: EngineHost): void {
    this.#host = host;
    const tell = (kind: 'worker.online' | 'worker.heartbeat'): void => {
      for (const queue of this.#online()) this.#tell(kind, queue);
    };
    tell('worker.online');
    this.#evidence = setInterval(() => tell('worker.heartbeat'), EVIDENCE_EVERY).unref();
  }

  stop(): void {
    clearInterval(this.#evidence);
    for (const queue of this.#online()) this.#farewell(queue, 'goodbye');
    this.#host = undefined;
  }

  /** For the registry: a worker of `queue` has begun to fetch. One event, however many workers the queue has. */
  workerOnline(queue: string): void {
    if (this.#host === undefined) return;
    if (this.#workersOf(queue).length === 1) {
      this.#tell('worker.online', queue);
      this.#host.inventoryChanged();
      this.scheduler.changed();
    }
  }

  /** For the registry: a worker of `queue` has closed. */
  workerOffline(queue: string, reason: string): void {
    if (this.#workersOf(queue).length === 0) this.#farewell(queue, reason);
  }

  scheduleChanged(): void {
    this.scheduler.changed();
  }

  /** BullMQ's part of a command loads with the first one. */
  async execute(command: Command, context: CommandContext): Promise<JsonValue> {
    const { execute } = await loadCommands();
    const subject = { name: this.name, workerName: (queue: string) => this.#host?.workerName(queue) };
    return quietly(() => execute(subject, command, context));
  }

  /** Depth of each queue in one round trip, and what the workers are doing. Figures the broker keeps back are left out. */
  async health(signal: AbortSignal): Promise<EngineHealth> {
    const { queues, workers } = liveOf(this.name);
    const details: { [worker: string]: WorkerDetails } = {};
    for (const queue of this.#online()) {
      const name = this.#host?.workerName(queue);
      if (name !== undefined) details[name] = this.#details(queue, this.#workersOf(queue));
    }
    const depths = await this.#depths([...workers.map(({ worker }) => worker), ...queues], signal);
    return { workers: details, ...(depths === undefined ? {} : { queueDepths: depths }) };
  }

  #workersOf(queue: string): readonly LiveWorker[] {
    return liveOf(this.name).workers.filter(({ worker, online }) => online && placeOf(worker).queue === queue);
  }

  #online(): ReadonlySet<string> {
    return new Set(
      liveOf(this.name)
        .workers.filter(({ online }) => online)
        .map(({ worker }) => placeOf(worker).queue),
    );
  }

  #tell(kind: 'worker.online' | 'worker.heartbeat', queue: string): void {
    const data = {
      queue,
      pid: process.pid,
      concurrency: concurrencyOf(this.#workersOf(queue)),
      library: `bullmq ${this.version ?? ''}`.trimEnd(),
    };
    hub.record({ kind, engine: this.name, taskId: '', occurredAt: Date.now(), data, workerOf: queue });
  }

  /** The name stands under another key than `worker`: that one would show the worker as online. */
  #farewell(queue: string, reason: string): void {
    if (this.#host === undefined) return;
    const data = { reason, worker_name: this.#host.workerName(queue), queue };
    hub.record({ kind: 'worker.offline', engine: this.name, taskId: '', occurredAt: Date.now(), data });
  }

  #details(queue: string, workers: readonly LiveWorker[]): WorkerDetails {
    const active = workers.flatMap((live) => [...live.active]);
    return {
      concurrency: concurrencyOf(workers),
      queues: [queue],
      active: active.map(({ job }) => ({ id: taskId(queue, job.id ?? ''), name: job.name })),
      registered: [...(workers[0] === undefined ? [] : placeOf(workers[0].worker).tasks)],
      stats: {
        workers: workers.length,
        paused: workers.every(({ worker }) => worker.isPaused()),
        library: `bullmq ${this.version ?? ''}`.trimEnd(),
      },
    };
  }

  async #depths(
    objects: readonly Parameters<typeof operable>[0][],
    signal: AbortSignal,
  ): Promise<{ [queue: string]: number } | undefined> {
    if (this.#busy || objects.length === 0 || signal.aborted) return undefined;
    this.#busy = true;
    const depths: { [queue: string]: number } = {};
    // Of several objects of one queue the last counts: the application's own Queue.
    const byName = new Map(objects.map((object) => [placeOf(object).queue, object]));
    const asked = Promise.allSettled(
      [...byName].map(async ([queue, object]) => {
        const ours = await quietly(() => operable(object));
        if (ours !== undefined) depths[queue] = await quietly(() => depthOf(ours));
      }),
    ).finally(() => {
      this.#busy = false;
    });
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await Promise.race([asked, aborted]);
    return { ...depths };
  }
}

function concurrencyOf(workers: readonly LiveWorker[]): number {
  return workers.reduce((sum, { worker }) => sum + (worker.concurrency ?? Number(worker.opts?.concurrency ?? 1)), 0);
}
