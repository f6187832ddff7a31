/** What an operator may do to jobs, on every version. */
import {
  type Command,
  type CommandContext,
  CommandError,
  hub,
  type JsonObject,
  type JsonValue,
} from '../../src/engine.js';
import { exceptionText } from '../common.js';
import {
  type Attrs,
  definitionsOf,
  type ForeignAgenda,
  type ForeignJob,
  idOf,
  isRecurring,
  timeOf,
} from './foreign.js';
import { partsOf, priorityNumber, revoked, type State, stateOf, taskId } from './map.js';
import { dataOf } from './plan.js';
import { activeOf, agendasOf, type EngineScope, lockLifetimeOf, registry } from './registry.js';
import { type Store, storeOf } from './store.js';

type Parameters = Command['parameters'];

interface Found {
  readonly agenda: ForeignAgenda;
  readonly store: Store;
  readonly attrs: Attrs;
}

/** Agendas that can be asked, those first that run `name`. */
export function connected(engine: EngineScope, name?: string): { agenda: ForeignAgenda; store: Store }[] {
  const found = agendasOf(engine).flatMap((agenda) => {
    const store = storeOf(agenda);
    return store === undefined ? [] : [{ agenda, store }];
  });
  if (found.length === 0) throw new CommandError('conflict', 'Agenda is not connected to its database in this process');
  const runs = ({ agenda }: { agenda: ForeignAgenda }): number =>
    name !== undefined && name in definitionsOf(agenda) ? 0 : 1;
  return found.sort((a, b) => runs(a) - runs(b));
}

async function find(engine: EngineScope, id: string): Promise<Found | undefined> {
  for (const { agenda, store } of connected(engine)) {
    const attrs = await store.get(id);
    if (attrs !== undefined) return { agenda, store, attrs };
  }
  return undefined;
}

const stateIn = ({ agenda, attrs }: Found): State => stateOf(attrs, Date.now(), lockLifetimeOf(agenda, attrs.name));

/** Small numbers are seconds from now, great ones seconds since the epoch. */
function timeFrom({ eta, eta_seconds }: Parameters): Date {
  const seconds = Number(eta ?? eta_seconds ?? 0);
  if (!(seconds >= 0)) throw new CommandError('invalid', `Expected \`eta\` to be seconds, got ${String(eta)}`);
  return new Date(seconds > 1e9 ? seconds * 1000 : Date.now() + seconds * 1000);
}

const list = (value: JsonValue | undefined): readonly unknown[] | undefined =>
  Array.isArray(value) ? value : undefined;
const object = (value: JsonValue | undefined): JsonObject | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;

async function enqueue(agenda: ForeignAgenda, name: string, data: unknown, parameters: Parameters): Promise<string> {
  const job = agenda.create(name, data).schedule(timeFrom(parameters));
  const priority = priorityNumber(parameters.priority);
  if (priority !== undefined) job.priority(priority);
  return idOf((await job.save()).attrs) ?? '';
}

export async function submit(engine: EngineScope, parameters: Parameters): Promise<JsonValue> {
  const name = String(parameters.task_name ?? parameters.name ?? '');
  if (name === '') throw new CommandError('invalid', 'a job needs the name of its task');
  const queue = parameters.queue;
  if (typeof queue === 'string' && queue !== '' && queue !== name) {
    throw new CommandError('unsupported', `in Agenda a task is its own queue: ${name} cannot go to ${queue}`);
  }
  const [{ agenda } = { agenda: undefined }] = connected(engine, name);
  if (agenda === undefined) throw new CommandError('conflict', 'Agenda is not connected');
  const data = dataOf(list(parameters.args), object(parameters.kwargs));
  return { task_id: await enqueue(agenda, name, data, parameters), engine: engine.name };
}

const NEEDS: { readonly [state in State]?: string } = {
  running: 'is running',
  reserved: 'is reserved by a worker',
  stalled: 'is locked by a run that never ended; Agenda runs it again when the lock expires',
  paused: 'is disabled; enable it first',
};

function refuse({ attrs }: Found, state: State): void {
  const why = NEEDS[state];
  if (why !== undefined) throw new CommandError('refused', `job ${idOf(attrs)} ${why}`);
}

async function rerun(found: Found, at: Date): Promise<void> {
  const { agenda, store, attrs } = found;
  refuse(found, stateIn(found));
  if (!(await store.reset(attrs, at))) throw new CommandError('conflict', 'a worker took the job at this moment');
  if (agenda.hasNotificationChannel?.()) {
    const job = agenda.create(attrs.name, attrs.data);
    Object.assign(job.attrs, attrs, { nextRunAt: at });
    await agenda.publishJobNotification?.(job);
  }
}

/** Runs a job again as it is in the database; an execution of a recurring job becomes a job of its own. */
export async function retry(engine: EngineScope, parameters: Parameters): Promise<JsonValue> {
  const task = String(parameters.task_id);
  const found = await find(engine, partsOf(task).id);
  if (found === undefined) throw new CommandError('not_found', `no job ${task} in this database`);
  const { agenda, attrs } = found;
  const args = list(parameters.override_args);
  const kwargs = object(parameters.override_kwargs);
  if (args !== undefined || kwargs !== undefined) {
    refuse(found, stateIn(found));
    const id = await enqueue(agenda, attrs.name, dataOf(args, kwargs), parameters);
    return { task_id: id, new_task_id: id, engine: engine.name };
  }
  if (isRecurring(attrs)) {
    const id = await enqueue(agenda, attrs.name, attrs.data, parameters);
    return { task_id: id, new_task_id: id, engine: engine.name };
  }
  await rerun(found, timeFrom(parameters));
  return { task_id: task, engine: engine.name };
}

async function requeueFailed(engine: EngineScope, task: string): Promise<void> {
  const found = await find(engine, partsOf(task).id);
  if (found === undefined) throw new CommandError('not_found', `no job ${task} in this database`);
  if (isRecurring(found.attrs)) throw new CommandError('refused', `${task} recurs: its plan runs it again`);
  const state = stateIn(found);
  if (state !== 'failed') throw new CommandError('refused', `job ${task} is ${state}, not failed`);
  await rerun(found, new Date());
}

export async function requeue(engine: EngineScope, parameters: Parameters): Promise<JsonValue> {
  const task = String(parameters.task_id);
  await requeueFailed(engine, task);
  return { task_id: task, engine: engine.name };
}

const MAX_BULK = 10_000;

export async function bulkRetry(
  engine: EngineScope,
  parameters: Parameters,
  context: CommandContext,
): Promise<JsonValue> {
  const filter = object(parameters.filter);
  const ids = list(filter?.task_ids)?.map(String);
  if (ids === undefined) throw new CommandError('invalid', 'a bulk retry needs the ids of its tasks');
  const max = Math.min(typeof parameters.max === 'number' ? parameters.max : 1000, MAX_BULK);
  const retried: string[] = [];
  const errors: Record<string, string> = {};
  let failures = 0;
  for (const [i, id] of ids.slice(0, max).entries()) {
    if (context.signal.aborted || failures === 3) break;
    if (i % 100 === 99) await context.yield();
    try {
      await requeueFailed(engine, id);
      retried.push(id);
      failures = 0;
    } catch (cause) {
      errors[id] = cause instanceof CommandError ? cause.message : exceptionText(cause);
      failures = cause instanceof CommandError ? 0 : failures + 1;
    }
  }
  return {
    retried: retried.length,
    skipped: Object.keys(errors).length,
    capped: ids.length > max,
    circuit_broken: failures === 3,
    new_task_ids: retried,
    errors,
  };
}

const MAX_ENTRIES = 200;

export async function deadLetters(
  engine: EngineScope,
  parameters: Parameters,
  context: CommandContext,
): Promise<JsonValue> {
  const limit = parameters.limit ?? 100;
  const from = parameters.cursor ?? '0';
  if (typeof limit !== 'number' || !Number.isInteger(limit) || limit < 1) {
    throw new CommandError('invalid', 'Expected `limit` to be a whole number greater than 0');
  }
  if (typeof from !== 'string' || !/^\d{1,9}$/.test(from)) throw new CommandError('invalid', 'unknown `cursor`');
  const name = typeof parameters.queue === 'string' && parameters.queue !== '' ? parameters.queue : undefined;
  const byId = new Map<string, Attrs>();
  for (const { store } of connected(engine)) {
    for (const attrs of await store.failed(name)) byId.set(taskId(attrs), attrs);
  }
  const all = [...byId].sort(([, a], [, b]) => Number(b.failedAt) - Number(a.failedAt));
  const start = Number(from);
  const end = start + Math.min(limit, MAX_ENTRIES);
  return {
    entries: all.slice(start, end).map(([id, attrs]) => ({
      task_id: id,
      task_name: attrs.name.slice(0, 500),
      queue: attrs.name.slice(0, 200),
      failed_at: new Date(timeOf(attrs.failedAt) ?? 0).toISOString(),
      error_excerpt: context.excerpt(String(attrs.failReason ?? ''), 512),
      attempts: attrs.failCount ?? null,
    })),
    next_cursor: end < all.length ? String(end) : null,
    total: all.length,
    engine: engine.name,
  };
}

const REVOKED = 'cancelled by an operator';

/** Removes jobs in the operator's name: what the library's own call would tell of them is not told. */
async function removeAll(store: Store, jobs: readonly Attrs[]): Promise<number> {
  for (const attrs of jobs) registry.pending.delete(idOf(attrs) ?? '');
  return store.remove(jobs);
}

function tellRevoked(engine: EngineScope, attrs: Attrs): void {
  if (hub.recorder !== undefined) hub.record(revoked(engine.name, attrs, taskId(attrs), Date.now(), REVOKED));
}

/** Stops what runs here as far as its handler listens; the document goes, so that nobody runs it again. */
async function cancelRunning(engine: EngineScope, { agenda, store, attrs }: Found): Promise<JsonValue> {
  const runs = activeOf(attrs);
  if (runs === undefined) {
    throw new CommandError('refused', `job ${idOf(attrs)} runs in another process: send the command to that one`);
  }
  for (const run of runs) run.revoked = REVOKED;
  const cooperative = [...runs].filter(({ job }) => typeof job.cancel === 'function');
  for (const { job } of cooperative) (job as Required<ForeignJob>).cancel(new Error(REVOKED));
  // A recurring job is a schedule: only this execution ends.
  if (!isRecurring(attrs)) await removeAll(store, [attrs]);
  return {
    task_id: taskId(attrs),
    engine: engine.name,
    cooperative: cooperative.length > 0,
    ...(cooperative.length > 0 ? {} : { note: 'this version of Agenda cannot stop a handler: it runs to its end' }),
    agenda: agenda.attrs?.name ?? null,
  };
}

export async function cancel(engine: EngineScope, parameters: Parameters): Promise<JsonValue> {
  const task = String(parameters.task_id);
  const { id, lastRunAt } = partsOf(task);
  const found = await find(engine, id);
  if (found === undefined) return { noop: true, reason: `no job ${task} in this database` };
  const { store, attrs } = found;
  const state = stateIn(found);
  if (lastRunAt !== undefined && (timeOf(attrs.lastRunAt) !== lastRunAt || state !== 'running')) {
    return { noop: true, reason: `the run ${task} is over` };
  }
  // Here a run may have begun that the database does not know of yet.
  if (state === 'running' || activeOf(attrs) !== undefined) return cancelRunning(engine, found);
  if (isRecurring(attrs)) {
    throw new CommandError('refused', `${task} recurs: disable or delete its schedule instead`);
  }
  if (state === 'completed' || state === 'failed') return { noop: true, reason: `the job is ${state}` };
  // Also for what is reserved by nobody yet: a worker of this process may take it at this moment.
  registry.cancelled.set(id, true);
  if ((await removeAll(store, [attrs])) === 0) {
    registry.cancelled.delete(id);
    return { noop: true, reason: 'it was gone already' };
  }
  const runs = activeOf(attrs);
  for (const run of runs ?? []) run.revoked = REVOKED;
  if (runs === undefined) tellRevoked(engine, attrs);
  return { task_id: task, engine: engine.name };
}

export async function purge(engine: EngineScope, parameters: Parameters, context: CommandContext): Promise<JsonValue> {
  const { queue } = parameters;
  // Without a name some versions would remove everything.
  if (typeof queue !== 'string' || queue === '')
    throw new CommandError('invalid', 'a purge needs the name of its queue');
  let depth = 0;
  const found: { store: Store; jobs: Attrs[] }[] = [];
  const seen = new Set<string>();
  for (const { store } of connected(engine, queue)) {
    const jobs = (await store.pending(queue)).filter((attrs) => !seen.has(idOf(attrs) ?? ''));
    for (const attrs of jobs) seen.add(idOf(attrs) ?? '');
    depth += jobs.length;
    found.push({ store, jobs });
  }
  context.allowPurge(queue, depth);
  let purged = 0;
  for (const { store, jobs } of found) {
    for (let i = 0; i < jobs.length; i += 500) {
      const some = jobs.slice(i, i + 500);
      purged += await removeAll(store, some);
      for (const attrs of some) tellRevoked(engine, attrs);
      await context.yield();
    }
  }
  return { queue, purged, depth_before: depth };
}

const SAYS: { readonly [state in State]: string } = {
  completed: 'success',
  failed: 'failure',
  running: 'started',
  stalled: 'started',
  reserved: 'pending',
  paused: 'pending',
  scheduled: 'pending',
  queued: 'pending',
};

export async function reconcile(engine: EngineScope, parameters: Parameters): Promise<JsonValue> {
  const task = String(parameters.task_id);
  const answer = (state: string, at?: number, exception?: unknown): JsonValue => ({
    task_id: task,
    engine_state: state,
    finished_at: at === undefined ? null : new Date(at).toISOString(),
    exception: exception == null ? null : String(exception).slice(0, 2000),
  });
  const known = registry.finished.get(task);
  const remembered = (): JsonValue =>
    known === undefined
      ? answer('unknown')
      : answer(known.state, known.at, known.error === undefined ? undefined : exceptionText(known.error));
  const { id, lastRunAt } = partsOf(task);
  const found = await find(engine, id);
  if (found === undefined) return remembered();
  const { attrs } = found;
  const finishedAt = timeOf(attrs.lastFinishedAt);
  if (lastRunAt === undefined) {
    const state = SAYS[stateIn(found)];
    const over = state === 'success' || state === 'failure';
    return answer(state, over ? finishedAt : undefined, state === 'failure' ? attrs.failReason : undefined);
  }
  if (timeOf(attrs.lastRunAt) !== lastRunAt) return remembered();
  if (finishedAt === undefined || finishedAt < lastRunAt) return answer('started');
  const failed = (timeOf(attrs.failedAt) ?? 0) >= lastRunAt;
  return answer(failed ? 'failure' : 'success', finishedAt, failed ? attrs.failReason : undefined);
}
