import {
  type Action,
  type Command,
  CommandError,
  type Engine,
  type EngineHealth,
  type EngineHost,
  type Inventory,
  type JsonValue,
  type Scheduler,
} from '../../src/engine.js';
import { exceptionText } from '../common.js';
import { applyOverride, createSchedule, deleteSchedule, trigger, updateSchedule } from './control.js';
import { ENGINE } from './map.js';
import { type Change, type Entry, registry, rowOf } from './registry.js';

const EVIDENCE_EVERY = 12 * 60 * 60 * 1000;

function entryOf(name: string): Entry {
  const entry = registry.entries.get(name);
  if (entry !== undefined && entry.frozen === undefined) return entry;
  throw new CommandError('not_found', `this process has no schedule ${name}`);
}

const scheduler: Scheduler = {
  operations: ['create', 'update', 'delete', 'enable', 'disable', 'trigger_now'],
  async list() {
    return [...registry.entries.values()].map(rowOf);
  },
  create: createSchedule,
  async update(name, definition) {
    await updateSchedule(entryOf(name), definition);
  },
  async delete(name) {
    await deleteSchedule(entryOf(name));
  },
  async trigger(name) {
    return trigger(entryOf(name));
  },
  onChange(listener) {
    const onChange = (_: Change): void => listener();
    registry.listeners.add(onChange);
    return () => registry.listeners.delete(onChange);
  },
  onDefined(override) {
    registry.overrides = override;
    for (const entry of [...registry.entries.values()]) {
      const wanted = override(rowOf(entry));
      if (wanted !== undefined) enforce(entry, wanted);
    }
    return () => {
      if (registry.overrides === override) registry.overrides = undefined;
    };
  },
  async applyOverride(name, override) {
    await applyOverride(entryOf(name), override);
  },
};

/** What cannot be had as the operator wants it is told once; the schedule goes on as its code says. */
export function enforce(entry: Entry, override: Parameters<typeof applyOverride>[1]): void {
  applyOverride(entry, override).catch((cause: unknown) =>
    registry.warn?.(`override ${entry.name}`, `${entry.name} runs as its code says: ${exceptionText(cause)}`),
  );
}

/** node-cron, all copies and versions in this process. It has no connection: there is one. */
export class NodeCronEngine implements Engine {
  readonly name = ENGINE;
  readonly scheduler = scheduler;
  #host: EngineHost | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #onChange = ({ kind }: Change): void => {
    if (kind === 'defined' || kind === 'deleted') this.#host?.inventoryChanged();
  };

  get version(): string | undefined {
    for (const { copy } of registry.entries.values()) return copy.version;
    return undefined;
  }

  actions(): readonly Action[] {
    return ['submit_task', 'reconcile_task'];
  }

  inventory(): Inventory {
    return {
      queues: [],
      tasks: [...new Set([...registry.entries.values()].map(({ taskName }) => taskName))],
      workers: this.#host === undefined ? [] : [this.#host.workerName('')],
    };
  }

  start(host: EngineHost): void {
    if (this.#host !== undefined) return;
    this.#host = host;
    registry.warn = (cause, message) => host.warn(cause, message);
    registry.listeners.add(this.#onChange);
    this.#report('worker.online');
    this.#timer = setInterval(() => this.#report('worker.heartbeat'), EVIDENCE_EVERY);
    this.#timer.unref();
  }

  stop(): void {
    const host = this.#host;
    if (host === undefined) return;
    clearInterval(this.#timer);
    registry.listeners.delete(this.#onChange);
    registry.warn = undefined;
    host.record({
      kind: 'worker.offline',
      engine: this.name,
      taskId: '',
      occurredAt: Date.now(),
      data: { worker_name: host.workerName(''), reason: 'goodbye' },
    });
    this.#host = undefined;
  }

  async execute({ action, parameters }: Command): Promise<JsonValue> {
    switch (action) {
      case 'submit_task':
        return this.#submit(parameters);
      case 'reconcile_task':
        return reconcile(String(parameters.task_id));
      default:
        throw new CommandError('unsupported', `node-cron cannot ${action}: it has schedules, no queue`);
    }
  }

  async health(): Promise<EngineHealth> {
    if (this.#host === undefined) return {};
    const entries = [...registry.entries.values()];
    const active = entries.flatMap(({ runs, name }) => [...runs.keys()].map((id) => ({ id, name })));
    const skipped = entries.filter((entry) => entry.skipped > 0).map(({ name, skipped }) => [name, skipped] as const);
    return {
      workers: {
        [this.#host.workerName('')]: {
          concurrency: 0,
          queues: [],
          active,
          registered: entries.map(({ name }) => name),
          stats: {
            versions: [...new Set(entries.map(({ copy }) => copy.version))],
            ...(skipped.length > 0 && { skipped: Object.fromEntries(skipped) }),
          },
        },
      },
    };
  }

  /** Runs the function of the schedule named as the task: that is all a process knows by name. */
  async #submit(parameters: Command['parameters']): Promise<JsonValue> {
    const { args, kwargs } = parameters;
    const name = String(parameters.task_name ?? parameters.name);
    if (
      (Array.isArray(args) && args.length > 0) ||
      (typeof kwargs === 'object' && kwargs !== null && Object.keys(kwargs).length > 0)
    ) {
      throw new CommandError('unsupported', 'functions of node-cron take no arguments');
    }
    if (parameters.eta != null) throw new CommandError('unsupported', 'node-cron runs a function now or by its plan');
    const entry =
      registry.entries.get(name) ?? [...registry.entries.values()].find(({ taskName }) => taskName === name);
    if (entry === undefined) throw new CommandError('not_found', `no schedule here has the function ${name}`);
    return trigger(entry);
  }

  #report(kind: 'worker.online' | 'worker.heartbeat'): void {
    const data = { pid: process.pid, library: `node-cron ${this.version ?? ''}`.trimEnd() };
    this.#host?.record({ kind, engine: this.name, taskId: '', occurredAt: Date.now(), data, workerOf: '' });
  }
}

function reconcile(id: string): JsonValue {
  const known = registry.finished.get(id);
  const running = [...registry.entries.values()].some(({ runs }) => runs.has(id));
  return {
    task_id: id,
    engine_state: known?.state ?? (running ? 'started' : 'unknown'),
    finished_at: known === undefined ? null : new Date(known.at).toISOString(),
    exception: known?.error === undefined ? null : exceptionText(known.error),
  };
}

let engine: NodeCronEngine | undefined;

/** The engine that is made when the first schedule appears. */
export function defaultEngine(): NodeCronEngine {
  engine ??= new NodeCronEngine();
  return engine;
}
