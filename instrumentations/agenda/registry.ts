/** The agendas of this thread and what they are doing, whichever copy of the library they came from. */
import { type Engine, hub, type Schedule, type ScheduleOverride } from '../../src/engine.js';
import { Recent } from '../common.js';
import { type Attrs, definitionsOf, type ForeignAgenda, type ForeignJob, idOf, isStarted } from './foreign.js';
import type { RunFacts } from './map.js';

/** One execution of a job in this process. */
export interface Run extends RunFacts {
  readonly job: ForeignJob;
  /** These three are known when the library has named the run. */
  id: string;
  startedAt: number;
  lockExpired: boolean;
  /** Set with `start`; without, the run ended before its handler was called. */
  begun: boolean;
  over: boolean;
  /** How it failed, until it is known whether a retry follows. */
  failure: { readonly error: unknown; retryAt?: number | undefined } | undefined;
  /** The handler called `fail` itself. */
  soft: string | undefined;
  /** An operator cancelled it: whatever Agenda says of its end. */
  revoked: string | undefined;
  /** It was under way when the library was patched: nobody waits for its promise. */
  adopted: boolean;
}

/** What the registry needs of an engine: which agendas are its own. */
export interface EngineScope extends Engine {
  /** Undefined: takes what no other engine wants. */
  readonly agenda: ForeignAgenda | undefined;
  startedOrStopped(): void;
  schedulesChanged(): void;
  /** An agenda is seen that takes jobs already: what its code said of schedules was heard by nobody. */
  attachedLate(agenda: ForeignAgenda): void;
}

interface Registry {
  readonly engines: EngineScope[];
  agendas: WeakRef<ForeignAgenda>[];
  readonly known: WeakSet<ForeignAgenda>;
  readonly versions: WeakMap<object, string>;
  version: string | undefined;
  readonly runs: WeakMap<ForeignJob, Run>;
  /** Runs under way, by job. */
  readonly active: Map<string, Run[]>;
  /** Jobs whose arguments this process has told; false: they may be others since. */
  readonly told: Recent<boolean>;
  /** Jobs this process has saved that have not begun here. */
  readonly pending: Recent<Attrs>;
  /** Jobs that an operator cancelled while they were reserved: Agenda would run some of them all the same. */
  readonly cancelled: Recent<true>;
  /** Runs of schedules counted here, by job. */
  readonly counts: Map<string, number>;
  /** Ids of recurring jobs seen saved here. */
  readonly schedules: Set<string>;
  readonly finished: Recent<{
    readonly state: 'success' | 'failure' | 'unknown';
    readonly at: number;
    readonly error?: unknown;
  }>;
  overrides: ((schedule: Schedule, isStored?: boolean) => ScheduleOverride | undefined) | undefined;
  /** Schedules that an operator disabled here: in 6 the next `every()` would enable them again. */
  readonly disabled: Set<string>;
  makeDefault: (() => EngineScope) | undefined;
}

const MAX = 5000;

const KEY = Symbol.for('z4j.bare.agenda.registry');
const globals = globalThis as { [KEY]?: Registry };

globals[KEY] ??= {
  engines: [],
  agendas: [],
  known: new WeakSet(),
  versions: new WeakMap(),
  version: undefined,
  runs: new WeakMap(),
  active: new Map(),
  told: new Recent(MAX),
  pending: new Recent(MAX),
  cancelled: new Recent(MAX),
  counts: new Map(),
  schedules: new Set(),
  finished: new Recent(MAX),
  overrides: undefined,
  disabled: new Set(),
  makeDefault: undefined,
};

export const registry: Registry = globals[KEY];

export function engineOf(agenda: ForeignAgenda): EngineScope {
  let general: EngineScope | undefined;
  for (const engine of registry.engines) {
    if (engine.agenda === agenda) return engine;
    if (engine.agenda === undefined) general ??= engine;
  }
  general ??= registry.makeDefault?.();
  if (general === undefined) throw new TypeError('no engine for this agenda');
  return general;
}

/** An agenda was made; the child of a forked job makes one too, which is none of ours. */
export function seen(agenda: ForeignAgenda): void {
  if (registry.known.has(agenda)) return;
  registry.known.add(agenda);
  queueMicrotask(() => {
    if (agenda.forkedWorker) return;
    registry.agendas = registry.agendas.filter((reference) => reference.deref() !== undefined);
    registry.agendas.push(new WeakRef(agenda));
    const engine = engineOf(agenda);
    hub.live(engine);
    if (isStarted(agenda)) engine.attachedLate(agenda);
  });
}

export function agendasOf(engine: EngineScope): ForeignAgenda[] {
  return registry.agendas
    .flatMap((reference) => reference.deref() ?? [])
    .filter((agenda) => engineOf(agenda) === engine);
}

export const startedOf = (engine: EngineScope): ForeignAgenda[] => agendasOf(engine).filter(isStarted);

export function lockLifetimeOf(agenda: ForeignAgenda, name: string): number {
  return definitionsOf(agenda)[name]?.lockLifetime ?? 600_000;
}

export function activeOf(attrs: Attrs): readonly Run[] | undefined {
  return registry.active.get(idOf(attrs) ?? '');
}

export function remember(id: string, state: 'success' | 'failure' | 'unknown', at: number, error?: unknown): void {
  registry.finished.set(id, { state, at, error });
}
