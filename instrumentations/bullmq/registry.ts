import { type Engine, hub } from '../../src/engine.js';
import type { ForeignJob, ForeignQueueBase, ForeignWorker } from './foreign.js';
import { type Place, queueLabel, type Trace } from './map.js';
import { Runs } from './runs.js';

/** One execution of a job by a worker of this process. */
export interface Run {
  readonly job: ForeignJob;
  readonly worker: LiveWorker | undefined;
  /** `performance.now()` when the processor was called. */
  startedAt?: number;
  trace?: Trace | undefined;
  /** How it ended for BullMQ; a run that settles without is orphaned. */
  outcome?: 'succeeded' | 'failed' | 'put back' | 'revoked';
  /** Why the broker refused the end of the run. */
  refusal?: unknown;
  /** The worker moves it back because of a rate limit. */
  limited?: boolean;
  /** Set while the processor runs: ends the run with this error, whatever the processor does. */
  abandon?: (error: Error) => void;
  /** What the processor is doing, also after it was abandoned. */
  work?: Promise<unknown>;
  /** An operator cancelled it: the next failure is final and told as revoked. */
  revoked?: boolean;
}

/** A worker of this process and what it is doing. */
export interface LiveWorker {
  readonly worker: ForeignWorker;
  readonly active: Set<Run>;
  /** It has begun to fetch jobs. */
  online: boolean;
  /** Span that was active when its loop started: it lasts for ever and belongs to none of the jobs. */
  loopSpan?: string | undefined;
}

/** The classes of one installed copy of BullMQ, as far as they were loaded. */
export type Copy = { [className: string]: unknown };

/** What the registry needs of an engine: which queues are its own. */
export interface EngineScope extends Engine {
  /** `undefined`: takes what no other engine wants. */
  readonly connection: unknown;
  readonly prefix: string | undefined;
  workerOnline(queue: string): void;
  workerOffline(queue: string, reason: string): void;
  scheduleChanged(): void;
}

/** A place and the names of the tasks seen there. */
export interface LivePlace extends Place {
  readonly tasks: Set<string>;
}

/** Remembers at least the last `RECENT` entries, at most twice as many. */
class Recent<Value> {
  #young = new Map<string, Value>();
  #old = new Map<string, Value>();

  get(key: string): Value | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  set(key: string, value: Value): void {
    if (this.#young.size >= RECENT) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}

const RECENT = 10_000;

const KEY = Symbol.for('z4j.bare.bullmq.registry');

/** Everything live in this thread, whichever copy of this package or of BullMQ it came through. */
interface Registry {
  readonly engines: EngineScope[];
  readonly workers: Map<ForeignWorker, LiveWorker>;
  readonly queues: Set<ForeignQueueBase>;
  /** Objects we made for ourselves. */
  readonly ours: WeakSet<object>;
  readonly runs: Runs;
  /** By task id: the timestamp of the job whose arguments this process has told. */
  readonly told: Recent<number>;
  /** By task id: the task at the top of the flow it was added in. */
  readonly roots: Recent<string>;
  readonly places: Map<string, LivePlace>;
  placeOf: WeakMap<object, LivePlace>;
  /** Workers that an operator paused. */
  readonly held: WeakSet<ForeignWorker>;
  /** By worker: the queue its loop waits on, where the version does not show it. */
  readonly fifos: WeakMap<ForeignWorker, object>;
  version: string | undefined;
  /** By folder: the classes of each installed copy of BullMQ. */
  readonly copies: Map<string, Copy>;
  /** Which copy a patched prototype is of. */
  readonly copyOf: WeakMap<object, Copy>;
  makeDefault: (() => EngineScope) | undefined;
  making: boolean;
}

const globals = globalThis as { [KEY]?: Registry };

globals[KEY] ??= {
  engines: [],
  workers: new Map(),
  queues: new Set(),
  ours: new WeakSet(),
  runs: new Runs(),
  told: new Recent(),
  roots: new Recent(),
  places: new Map(),
  placeOf: new WeakMap(),
  held: new WeakSet(),
  fifos: new WeakMap(),
  version: undefined,
  copies: new Map(),
  copyOf: new WeakMap(),
  makeDefault: undefined,
  making: false,
};

export const registry: Registry = globals[KEY];

interface ConnectionFacts {
  readonly host?: string;
  readonly port?: number | string;
  readonly db?: number;
  readonly database?: number;
  readonly path?: string | null;
  readonly url?: string;
  readonly name?: string;
  readonly socket?: { readonly host?: string; readonly port?: number };
  readonly options?: ConnectionFacts;
}

/** Where a connection leads to: equal for options and clients of the same server and database. */
function destination(connection: unknown): string | undefined {
  if (typeof connection === 'string') return destination({ url: connection });
  if (typeof connection !== 'object' || connection === null) return undefined;
  const facts = (connection as ConnectionFacts).options ?? (connection as ConnectionFacts);
  if (facts.path) return `${facts.path}/${facts.db ?? 0}`;
  let { host = facts.socket?.host, port = facts.socket?.port } = facts;
  let db: number | string = facts.db ?? facts.database ?? 0;
  if (facts.url !== undefined && URL.canParse(facts.url)) {
    const url = new URL(facts.url);
    host = url.hostname;
    port = url.port || (url.protocol.startsWith('postgres') ? 5432 : 6379);
    if (url.pathname.length > 1) db = url.pathname.slice(1);
  }
  host = host === undefined || host === 'localhost' ? '127.0.0.1' : host;
  return `${host}:${port ?? 6379}/${db}`;
}

function owns(engine: EngineScope, connection: unknown, prefix: string | undefined): boolean {
  if (engine.connection === undefined) return false;
  if ((engine.prefix ?? 'bull') !== (prefix ?? 'bull')) return false;
  if (engine.connection === connection) return true;
  const to = destination(engine.connection);
  return to !== undefined && to === destination(connection);
}

/** The engine that a connection and prefix belong to; the general one is made when it is first needed. */
export function engineFor(connection: unknown, prefix: string | undefined): EngineScope | undefined {
  for (const engine of registry.engines) if (owns(engine, connection, prefix)) return engine;
  return registry.engines.find((engine) => engine.connection === undefined) ?? registry.makeDefault?.();
}

/** Announces an engine that was given by the application, or made for what belongs to no other. */
export function addEngine(engine: EngineScope): void {
  registry.engines.push(engine);
  registry.placeOf = new WeakMap();
}

function intern(engine: string, queue: string): LivePlace {
  const key = `${engine} ${queue}`;
  let place = registry.places.get(key);
  if (place === undefined) {
    place = { engine, queue, tasks: new Set() };
    registry.places.set(key, place);
  }
  return place;
}

/** `connection` is that of the flow producer where the queue is only a flow's idea of one. */
export function placeOf(queue: ForeignQueueBase, connection?: unknown): LivePlace {
  let place = registry.placeOf.get(queue);
  if (place === undefined) {
    const prefix = queue.opts?.prefix;
    const engine = engineFor(connection ?? queue.opts?.connection, prefix);
    place = intern(engine?.name ?? 'bullmq', queueLabel(queue.name, prefix));
    registry.placeOf.set(queue, place);
  }
  return place;
}

export function engineOf(queue: ForeignQueueBase): EngineScope | undefined {
  const { engine } = placeOf(queue);
  return registry.engines.find(({ name }) => name === engine);
}

/** The engine that the queue belongs to is at work. */
export function announce(queue: ForeignQueueBase): void {
  const engine = engineOf(queue);
  if (engine !== undefined) hub.live(engine);
}

function prune(): void {
  for (const queue of registry.queues) if (queue.closing) registry.queues.delete(queue);
}

let pruneAt = 64;

/** A Queue, Worker or something of their family was made. */
export function seenLive(object: ForeignQueueBase): void {
  if (registry.ours.has(object)) return;
  if (registry.making) {
    registry.ours.add(object);
    return;
  }
  if ('processJob' in object) {
    seenWorker(object as unknown as ForeignWorker);
  } else if ('getJobCounts' in object && 'addBulk' in object && !registry.queues.has(object)) {
    registry.queues.add(object);
    if (registry.queues.size > pruneAt) {
      prune();
      pruneAt = Math.max(64, registry.queues.size * 2);
    }
    announce(object);
  }
}

/** Notes a class; `file` is any file of its copy. */
export function seenClass(file: string, name: string, target: { readonly prototype: object }): void {
  const folder = file.replace(/(?:classes[\\/])?[^\\/]*$/, '');
  let copy = registry.copies.get(folder);
  if (copy === undefined) {
    copy = {};
    registry.copies.set(folder, copy);
  }
  copy[name] = target;
  registry.copyOf.set(target.prototype, copy);
}

export function copyOf(object: object): Copy | undefined {
  for (let at: object | null = object; at !== null; at = Object.getPrototypeOf(at)) {
    const copy = registry.copyOf.get(at);
    if (copy !== undefined) return copy;
  }
  return undefined;
}

export function seenWorker(worker: ForeignWorker): LiveWorker {
  let live = registry.workers.get(worker);
  if (live === undefined) {
    live = { worker, active: new Set(), online: false };
    registry.workers.set(worker, live);
    announce(worker);
  }
  return live;
}

/** Makes an object of BullMQ that is ours and not the application's. */
export function makeOurs<T extends object>(make: () => T): T {
  registry.making = true;
  try {
    const made = make();
    registry.ours.add(made);
    return made;
  } finally {
    registry.making = false;
  }
}

const MAX_NAMES = 200;

export function seenTask(place: LivePlace, name: string): void {
  if (place.tasks.size < MAX_NAMES) place.tasks.add(name);
}

/** Queues and workers of this process that belong to an engine. */
export function liveOf(engine: string): {
  readonly queues: readonly ForeignQueueBase[];
  readonly workers: readonly LiveWorker[];
} {
  prune();
  return {
    queues: [...registry.queues].filter((queue) => placeOf(queue).engine === engine),
    workers: [...registry.workers.values()].filter(({ worker }) => placeOf(worker).engine === engine),
  };
}
