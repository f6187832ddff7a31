import {
  type Action,
  asHost,
  type Command,
  type CommandContext,
  CommandError,
  type EngineHealth,
  type EngineHost,
  type Inventory,
  type JsonObject,
  type JsonValue,
  type Scheduler,
} from '../../src/engine.js';
import * as control from './control.js';
import { definitionsOf, type ForeignAgenda, labelOf, lockLimitOf, placesOf } from './foreign.js';
import { quietly } from './quiet.js';
import { agendasOf, type EngineScope, registry, startedOf } from './registry.js';
import { putInForce, schedulerOf } from './schedules.js';
import { storeOf } from './store.js';

export interface AgendaEngineOptions {
  /** The agenda that belongs to it. */
  readonly agenda?: object | undefined;
  /** The brain shows the engine as `agenda-<namespace>`; without, as `agenda`. */
  readonly namespace?: string | undefined;
}

const NAMESPACE = /^[A-Za-z0-9_-]{1,33}$/;
const EVIDENCE_EVERY = 12 * 60 * 60 * 1000;
/** A count that took a second is made once in this many. */
const RARELY = 50;

const EVERYWHERE: readonly Action[] = [
  'submit_task',
  'retry_task',
  'bulk_retry',
  'requeue_dead_letter',
  'dlq.list',
  'cancel_task',
  'purge_queue',
  'reconcile_task',
];

/**
 * Agenda as the brain knows it. One without an agenda stands for all that belong to no other; it is made by itself when
 * the first agenda appears.
 *
 * @throws TypeError when the namespace has other characters than letters, digits, `_` and `-`, or more than 33.
 */
export class AgendaEngine implements EngineScope {
  readonly name: string;
  readonly agenda: ForeignAgenda | undefined;
  readonly scheduler: Scheduler;
  readonly #listeners = new Set<() => void>();
  #host: EngineHost | undefined;
  #evidence: NodeJS.Timeout | undefined;
  #online = false;
  #depths: { readonly [queue: string]: number } | undefined;
  #countAt = 0;

  constructor({ agenda, namespace }: AgendaEngineOptions = {}) {
    if (namespace !== undefined && !NAMESPACE.test(namespace)) {
      throw new TypeError(
        `Expected \`namespace\` to be up to 33 letters, digits, _ or -, got \`${namespace}\` (${typeof namespace})`,
      );
    }
    this.name = namespace === undefined ? 'agenda' : `agenda-${namespace}`;
    this.agenda = agenda as ForeignAgenda | undefined;
    this.scheduler = schedulerOf(this, this.#listeners);
    registry.engines.push(this);
  }

  get version(): string | undefined {
    return registry.version;
  }

  actions(): readonly Action[] {
    return startedOf(this).length === 0 ? EVERYWHERE : [...EVERYWHERE, 'pool_grow', 'pool_shrink'];
  }

  inventory(): Inventory {
    const names = [...new Set(agendasOf(this).flatMap((agenda) => Object.keys(definitionsOf(agenda))))];
    const workers = this.#host !== undefined && this.#online ? [this.#host.workerName('')] : [];
    return { queues: names, tasks: names, workers };
  }

  start(host: EngineHost): void {
    this.#host = host;
    this.startedOrStopped();
    this.#evidence = setInterval(() => {
      if (this.#online) this.#tell('worker.heartbeat');
    }, EVIDENCE_EVERY).unref();
  }

  stop(): void {
    clearInterval(this.#evidence);
    if (this.#online) this.#farewell('goodbye');
    this.#host = undefined;
    this.#online = false;
  }

  /** For the registry: an agenda may have begun or ceased to take jobs. */
  startedOrStopped(): void {
    if (this.#host === undefined) return;
    const online = startedOf(this).length > 0;
    if (online !== this.#online) {
      this.#online = online;
      if (online) this.#tell('worker.online');
      else this.#farewell('stopped');
      this.#host.inventoryChanged();
    }
    this.schedulesChanged();
  }

  attachedLate(agenda: ForeignAgenda): void {
    this.startedOrStopped();
    void putInForce(agenda);
  }

  /** For the registry: something that `list()` shows may have changed. */
  schedulesChanged(): void {
    for (const listener of this.#listeners) listener();
  }

  execute(command: Command, context: CommandContext): Promise<JsonValue> {
    return quietly(() => this.#execute(command, context));
  }

  #execute({ action, parameters }: Command, context: CommandContext): Promise<JsonValue> {
    switch (action) {
      case 'submit_task':
        return control.submit(this, parameters);
      case 'retry_task':
        return control.retry(this, parameters);
      case 'bulk_retry':
        return control.bulkRetry(this, parameters, context);
      case 'requeue_dead_letter':
        return control.requeue(this, parameters);
      case 'dlq.list':
        return control.deadLetters(this, parameters, context);
      case 'cancel_task':
        return control.cancel(this, parameters);
      case 'purge_queue':
        return control.purge(this, parameters, context);
      case 'reconcile_task':
        return control.reconcile(this, parameters);
      case 'pool_grow':
        return this.#resize(parameters, 1);
      case 'pool_shrink':
        return this.#resize(parameters, -1);
      default:
        return Promise.reject(new CommandError('unsupported', `Agenda cannot ${action}`));
    }
  }

  async health(signal: AbortSignal): Promise<EngineHealth> {
    const started = startedOf(this);
    if (this.#host === undefined || started.length === 0) return {};
    const registered = [...new Set(started.flatMap((agenda) => Object.keys(definitionsOf(agenda))))];
    const active = [...registry.active.values()].flatMap((runs) =>
      [...runs].filter(({ job }) => started.includes(job.agenda)).map(({ id, attrs }) => ({ id, name: attrs.name })),
    );
    const depths = await this.#count(started, registered, signal);
    return {
      ...(depths === undefined ? {} : { queueDepths: depths }),
      workers: {
        [this.#host.workerName('')]: {
          concurrency: started.reduce((sum, agenda) => sum + placesOf(agenda), 0),
          queues: registered,
          active,
          registered,
          stats: {
            library: `agenda ${this.version ?? ''}`.trimEnd(),
            ...locks(started),
            definitions: describe(started),
          },
        },
      },
    };
  }

  /** Due jobs. Some backends read every document for it: the slower, the rarer. */
  async #count(
    started: readonly ForeignAgenda[],
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly [queue: string]: number } | undefined> {
    const now = Date.now();
    if (now < this.#countAt) return this.#depths;
    try {
      const counts = new Map<string, number>();
      for (const agenda of started) {
        const own = names.filter((name) => name in definitionsOf(agenda));
        const depths = (await quietly(() => storeOf(agenda)?.depths(own))) ?? {};
        for (const name of own) counts.set(name, Math.max(counts.get(name) ?? 0, depths[name] ?? 0));
      }
      if (!signal.aborted) this.#depths = Object.fromEntries(counts);
    } catch {
      this.#depths = undefined;
    }
    this.#countAt = Date.now() + (Date.now() - now) * RARELY;
    return this.#depths;
  }

  async #resize({ delta, worker_name }: Command['parameters'], sign: 1 | -1): Promise<JsonValue> {
    const started = startedOf(this);
    const [agenda] = started;
    if (agenda === undefined) throw new CommandError('conflict', 'no agenda of this process takes jobs');
    if (started.length > 1) {
      throw new CommandError(
        'unsupported',
        'several agendas run in this process; give each an engine with a namespace',
      );
    }
    const before = placesOf(agenda);
    const after = before + sign * Number(delta);
    const limit = lockLimitOf(agenda);
    if (limit !== undefined && after > limit) {
      throw new CommandError('conflict', `its application lets this agenda lock ${limit} jobs at a time (lockLimit)`);
    }
    // 0 is no limit in 6, and never starts anything again in 3–5.
    if (!(after >= 1)) throw new CommandError('invalid', `the pool has ${before} places; at least 1 has to stay`);
    agenda.maxConcurrency(after);
    if (agenda.jobProcessor !== undefined) {
      agenda.jobProcessor.maxConcurrency = after;
      asHost(() => agenda.jobProcessor?.jobProcessing?.());
    }
    return { worker_name: worker_name ?? null, concurrency_before: before, concurrency: after };
  }

  #tell(kind: 'worker.online' | 'worker.heartbeat'): void {
    const started = startedOf(this);
    const data = {
      pid: process.pid,
      concurrency: started.reduce((sum, agenda) => sum + placesOf(agenda), 0),
      library: `agenda ${this.version ?? ''}`.trimEnd(),
      agendas: started.flatMap((agenda) => labelOf(agenda) ?? []),
    };
    this.#host?.record({ kind, engine: this.name, taskId: '', occurredAt: Date.now(), data, workerOf: '' });
  }

  /** The name stands under another key than `worker`: that one would show the worker as online. */
  #farewell(reason: string): void {
    const data = { reason, worker_name: this.#host?.workerName('') };
    this.#host?.record({ kind: 'worker.offline', engine: this.name, taskId: '', occurredAt: Date.now(), data });
  }
}

/** The limit of locks, where every agenda has one. */
function locks(started: readonly ForeignAgenda[]): JsonObject {
  const limits = started.flatMap((agenda) => lockLimitOf(agenda) ?? []);
  return limits.length < started.length ? {} : { lock_limit: limits.reduce((sum, limit) => sum + limit, 0) };
}

function describe(started: readonly ForeignAgenda[]): JsonObject {
  const entries = started.flatMap((agenda) => Object.entries(definitionsOf(agenda)));
  return Object.fromEntries(
    entries.map(([name, { concurrency, lockLimit, lockLifetime }]) => [
      name,
      { concurrency, lock_limit: lockLimit, lock_lifetime_ms: lockLifetime },
    ]),
  );
}

registry.makeDefault ??= () => new AgendaEngine();
