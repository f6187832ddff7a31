import { asHost, type EnginePatch, hub } from '../../src/engine.js';
import { asksForRuns, type CurrentRun, currentRun, guard, type Method, wrap } from '../common.js';
import type { Attrs, ForeignAgenda, ForeignId, ForeignJob } from './foreign.js';
import { taskId } from './map.js';
import { isOurs } from './memory.js';
import * as observe from './observe.js';
import { isQuiet } from './quiet.js';
import './operate.js';
import { desired } from './plan.js';
import { engineOf, type Run, registry, seen } from './registry.js';

type AgendaClass = (abstract new (...args: never[]) => ForeignAgenda) & { readonly prototype: ForeignAgenda };

const isAgenda = (value: unknown): value is AgendaClass => {
  if (typeof value !== 'function') return false;
  const prototype = (value as { prototype?: { [name: string]: unknown } }).prototype;
  return ['define', 'every', 'create', 'now'].every((name) => typeof prototype?.[name] === 'function');
};

function agendaClass(exports: unknown): AgendaClass | undefined {
  const { default: main, Agenda } = Object(exports) as { default?: unknown; Agenda?: unknown };
  const inner = (Object(main) as { Agenda?: unknown }).Agenda;
  return [Agenda, main, inner, exports, instanceClass(exports)].find(isAgenda);
}

/** What is given may be an agenda itself: where the library was bundled, the application has nothing else of it. */
const instanceClass = (value: unknown): unknown =>
  typeof value === 'object' && value !== null ? value.constructor : undefined;

/** The class of jobs is not exported before 6; every version makes one without touching its database. */
function jobPrototype({ prototype }: AgendaClass): object {
  const bare = { definitions: {}, _definitions: {}, attrs: {} };
  return Object.getPrototypeOf(prototype.create.call(bare as unknown as ForeignAgenda, 'x'));
}

const begin = guard('the runs of Agenda', (job: ForeignJob, earlier: observe.Before) => {
  seen(job.agenda);
  return observe.beginRun(job, earlier);
});
const before = guard('the runs of Agenda', observe.before);
const named = guard(
  'the runs of Agenda',
  (run: Run, earlier: observe.Before, current: { taskId: string; rootId: string }) => {
    observe.nameRun(run, earlier);
    current.taskId = run.id;
    current.rootId = run.id;
  },
);
const end = guard('the runs of Agenda', observe.endRun);

function watchedRun(stands: Method): Method {
  return function run(this: unknown, ...args): unknown {
    // What an operator added may run at once, in the middle of our call.
    if (isQuiet()) return asHost(() => Reflect.apply(run, this, args));
    const job = this as ForeignJob;
    // Only 6 looks whether the job is still there before it runs it.
    if (registry.cancelled.delete(String(job.attrs?._id))) return Promise.resolve(job);
    const earlier = before(job);
    const begun = earlier && begin(job, earlier);
    if (begun === undefined || earlier === undefined) return Reflect.apply(stands, this, args);
    const current = { taskId: '', rootId: '' };
    const result = currentRun.run(current, () => Reflect.apply(stands, this, args));
    named(begun, earlier, current);
    if (!(result instanceof Promise)) return result;
    return result.then(
      (value) => {
        end(begun, undefined);
        return value;
      },
      (error) => {
        end(begun, error);
        throw error;
      },
    );
  };
}

/** The child of a forked job: the run is told by its parent, but what it asks for belongs to it. */
function watchedChild(stands: Method): Method {
  return function (this: unknown, ...args) {
    const job = this as ForeignJob;
    if (!job.agenda?.forkedWorker) return Reflect.apply(stands, this, args);
    const id = taskId(job.attrs);
    const current: CurrentRun = { taskId: id, rootId: id };
    return currentRun.run(current, () => Reflect.apply(stands, this, args));
  };
}

const saving = guard('jobs saved with Agenda', (job: ForeignJob) => {
  if (job.agenda.forkedWorker || isOurs(job.attrs.name)) return undefined;
  seen(job.agenda);
  const facts = observe.saving(job);
  if (facts?.isNew) desired(job);
  return facts;
});
const saved = guard('jobs saved with Agenda', observe.saved);

function watchedSave(stands: Method): Method {
  return function (this: unknown, ...args) {
    const job = this as ForeignJob;
    const facts = saving(job);
    const result = Reflect.apply(stands, this, args);
    if (facts === undefined || !(result instanceof Promise)) return result;
    return result.then(
      (value) => {
        saved(job, facts);
        return value;
      },
      (error) => {
        observe.unsaved(job);
        throw error;
      },
    );
  };
}

const isJob = (value: unknown): value is ForeignJob => typeof value === 'object' && value !== null && 'attrs' in value;

const TELLING: ReadonlySet<unknown> = new Set(['start', 'success', 'fail', 'retry', 'complete']);

/** `emit(event, a, b)`. */
const told = guard('the events of Agenda', (event: unknown, a: unknown, b: unknown) => {
  // Events of other processes that the library repeats here end in `true`, and carry no job.
  const job = event === 'fail' ? b : a;
  if (!isJob(job)) return;
  switch (event) {
    case 'start':
      observe.onStart(job);
      break;
    case 'success':
      observe.adopt(job, false);
      observe.onSuccess(job);
      break;
    case 'fail':
      observe.adopt(job, true);
      observe.onFail(job, a);
      break;
    case 'retry':
      observe.onRetry(job, b as { nextRunAt?: Date } | undefined);
      break;
    case 'complete':
      observe.onComplete(job);
  }
});

function watchedEmit(stands: Method): Method {
  return function (this: unknown, ...args) {
    // The second name of each event, `start:<job>`, tells nothing more.
    // Nothing else gets hold of the arguments: so they need not be made an array.
    if (TELLING.has(args[0]) && args[args.length - 1] !== true) told(args[0], args[1], args[2]);
    return Reflect.apply(stands, this, args);
  };
}

/** Every constructor listens to something: so instances are seen whenever they are made. */
function watchedOn(stands: Method): Method {
  const see = guard('the instances of Agenda', seen);
  return function (this: unknown, ...args) {
    see(this as ForeignAgenda);
    return Reflect.apply(stands, this, args);
  };
}

function after(stands: Method, done: (self: unknown, args: readonly unknown[], value: unknown) => void): Method {
  return function (this: unknown, ...args) {
    const result = Reflect.apply(stands, this, args);
    if (!(result instanceof Promise)) {
      done(this, args, result);
      return result;
    }
    return result.then((value) => {
      done(this, args, value);
      return value;
    });
  };
}

const startedOrStopped = guard('the instances of Agenda', (agenda: unknown) => {
  if ((agenda as ForeignAgenda).forkedWorker) return;
  seen(agenda as ForeignAgenda);
  engineOf(agenda as ForeignAgenda).startedOrStopped();
});

/** Ids that a query names, in the words of any version. */
function idsOf(query: unknown): string[] {
  const { id, ids, _id } = Object(query) as { id?: ForeignId; ids?: ForeignId[]; _id?: ForeignId };
  const found: string[] = [];
  for (const one of Array.isArray(ids) ? [id, ...ids, _id] : [id, _id]) if (one != null) found.push(String(one));
  return found;
}

const schedulesTouched = guard(
  'the schedules of Agenda',
  (agenda: unknown, args: readonly unknown[], count: unknown) => {
    if (count === 0) return;
    const ids = idsOf(args[0]);
    if (observe.onRemoved(agenda as ForeignAgenda, ids)) engineOf(agenda as ForeignAgenda).schedulesChanged();
  },
);

const toggled = guard('the schedules of Agenda', (agenda: unknown) =>
  engineOf(agenda as ForeignAgenda).schedulesChanged(),
);

const onFailCall = guard('the runs of Agenda', (job: ForeignJob, reason: unknown) => {
  const run = registry.runs.get(job);
  // The library calls it when the handler has thrown; then it says `fail`, which decides.
  if (run !== undefined && !run.over) run.soft = reason instanceof Error ? reason.message : String(reason);
});

const onCancelCall = guard('the runs of Agenda', observe.onCancel);

function first(stands: Method, see: (job: ForeignJob, argument: unknown) => void): Method {
  return function (this: unknown, ...args) {
    see(this as ForeignJob, args[0]);
    return Reflect.apply(stands, this, args);
  };
}

/**
 * Agenda 3–6 and @hokify/agenda. Prototypes are patched, never exports: the namespace of 6 cannot be changed, and
 * instances made earlier are covered too. `define` is left alone: 6 takes the caller's file from the stack.
 */
export const agendaPatch: EnginePatch = {
  engine: 'agenda',
  packages: ['agenda', '@hokify/agenda'],
  supported: { from: '3.0.0', below: '7.0.0' },
  patch(exports, { version }) {
    const Agenda = agendaClass(exports);
    if (Agenda === undefined) return false;
    const agenda = Agenda.prototype;
    const job = jobPrototype(Agenda);
    registry.version = version;
    asksForRuns();
    if (instanceClass(exports) === Agenda) seen(exports as ForeignAgenda);
    const done = wrap(agenda, 'emit', watchedEmit) && wrap(job, 'run', watchedRun) && wrap(job, 'save', watchedSave);
    wrap(agenda, 'on', watchedOn);
    wrap(job, 'runJob', watchedChild);
    wrap(job, 'fail', (stands) => first(stands, onFailCall));
    wrap(job, 'cancel', (stands) => first(stands, onCancelCall));
    for (const name of ['start', 'stop', 'drain', 'close']) {
      wrap(agenda, name, (stands) => after(stands, (self) => startedOrStopped(self)));
    }
    for (const name of ['cancel', 'cancelAll']) wrap(agenda, name, (stands) => after(stands, schedulesTouched));
    for (const name of ['enable', 'disable']) wrap(agenda, name, (stands) => after(stands, toggled));
    return done;
  },
};

/** For bundled applications: watches the class of an instance that no loader has seen. Never throws. */
export function instrumentAgenda(instance: object, version = '6.0.0'): void {
  const exports = { Agenda: instance.constructor };
  hub.offer(agendaPatch, exports, { package: 'agenda', version, file: '' }, 'instrument');
  guard('the instances of Agenda', seen)(instance as ForeignAgenda);
}

export type { Attrs };
