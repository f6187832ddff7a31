import {
  type Command,
  type CommandContext,
  CommandError,
  hub,
  type JsonObject,
  type JsonValue,
} from '../../src/engine.js';
import { exceptionText } from '../common.js';
import type { ForeignJob } from './foreign.js';
import { jobOf, type Located, locate, objectsOf, queueNamed, type Subject } from './locate.js';
import { payload, priorityLabel, priorityNumber, revoked, taskId } from './map.js';
import { depthOf, inOnePiece, type OperableQueue, stateOf } from './operable.js';
import { liveOf, placeOf, type Run } from './registry.js';
import { cancelConsumer, grow, limitWorkers, restart, resume, shrink, wake, workersNamed } from './workers.js';

type Handler = (subject: Subject, command: Command, context: CommandContext) => Promise<JsonValue>;

/** Between two of them the host's event loop runs: what a chunk of jobs costs it is a few milliseconds. */
const CHUNK = 50;
const MAX_ERRORS = 100;
const FINISHED: ReadonlySet<string> = new Set(['completed', 'failed']);

const text = (value: JsonValue | undefined): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

const record = (value: JsonValue | undefined): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};

function required(parameters: JsonObject, name: string): string {
  const value = text(parameters[name]);
  if (value === undefined) throw new CommandError('invalid', `the command has no ${name}`);
  return value;
}

function delayOf(parameters: JsonObject): number | undefined {
  const { eta } = parameters;
  if (eta === undefined || eta === null) return undefined;
  if (typeof eta !== 'number' || !Number.isFinite(eta)) throw new CommandError('invalid', `eta is no time: ${eta}`);
  const delay = Math.round(eta * 1000 - Date.now());
  return delay > 0 ? delay : undefined;
}

/** Another job with the same options except what binds it to its first life. */
async function resubmit(
  { queue, label }: Located,
  job: ForeignJob,
  data: unknown,
  options: object,
  subject: Subject,
): Promise<JsonValue> {
  const { jobId, parent, repeat, repeatJobKey, deduplication, debounce, delay, timestamp, prevMillis, ...kept } =
    job.opts as { readonly [option: string]: unknown };
  const made = await queue.add(job.name, data, { ...kept, ...options });
  const id = taskId(label, made.id ?? '');
  return { task_id: id, new_task_id: id, engine: subject.name };
}

const retry: Handler = async (subject, { id: commandId, parameters }) => {
  const id = required(parameters, 'task_id');
  const located = await jobOf(subject, id);
  const { job } = located;
  const { override_args: args, override_kwargs: kwargs } = parameters;
  const isOverridden = (args ?? null) !== null || (kwargs ?? null) !== null;
  const data = isOverridden ? payload(args, kwargs) : job.data;
  const delay = delayOf(parameters);
  const label = text(parameters.priority);
  const isReordered = label !== undefined && label !== priorityLabel(job.opts.priority);
  const state = await job.getState();
  if (!FINISHED.has(state)) throw new CommandError('conflict', `${id} is ${state}: only what has finished is retried`);
  if (delay !== undefined || isReordered || isOverridden) {
    const priority = isReordered ? { priority: priorityNumber(label) } : {};
    const options = { jobId: `retry-${commandId}`, ...(delay === undefined ? {} : { delay }), ...priority };
    return resubmit(located, job, data, options, subject);
  }
  await job.retry(state);
  return { task_id: id, engine: subject.name };
};

const requeue: Handler = async (subject, { parameters }) => {
  const id = required(parameters, 'task_id');
  const { job } = await jobOf(subject, id);
  const state = await job.getState();
  if (state !== 'failed') throw new CommandError('conflict', `${id} is ${state}, not a dead letter`);
  await job.retry('failed');
  return { task_id: id, engine: subject.name };
};

const bulkRetry: Handler = async (subject, { parameters }, context) => {
  const ids = record(parameters.filter).task_ids;
  if (!Array.isArray(ids)) throw new CommandError('invalid', 'bulk_retry needs filter.task_ids');
  const max = typeof parameters.max === 'number' && parameters.max > 0 ? parameters.max : ids.length;
  const wanted = [...new Set(ids.filter((id) => typeof id === 'string'))].slice(0, max);
  const errors: { [id: string]: string } = {};
  let retried = 0;
  const one = async (id: string): Promise<void> => {
    try {
      const { job } = await jobOf(subject, id);
      // Its own copy of the job's facts tells the state without another round trip.
      await job.retry(job.failedReason ? 'failed' : 'completed');
      retried += 1;
    } catch (error) {
      if (Object.keys(errors).length < MAX_ERRORS)
        errors[id] = error instanceof CommandError ? error.message : exceptionText(error);
    }
  };
  for (let at = 0; at < wanted.length; at += CHUNK) {
    if (context.signal.aborted) break;
    await Promise.all(wanted.slice(at, at + CHUNK).map(one));
    await context.yield();
  }
  return { retried, skipped: wanted.length - retried, new_task_ids: [], errors };
};

const MAX_PAGE = 200;
const MAX_MERGED = 5000;

const deadLetters: Handler = async (subject, { parameters }, context) => {
  const only = text(parameters.queue);
  const labels = only === undefined ? [...objectsOf(subject).keys()].sort() : [only];
  const limit = Math.min(Math.max(Math.trunc(Number(parameters.limit ?? 100)) || 100, 1), MAX_PAGE);
  const cursor = parameters.cursor ?? '0';
  if (typeof cursor !== 'string' || !/^\d{1,9}$/.test(cursor)) {
    throw new CommandError('invalid', 'Expected `cursor` to be what the page before said, or nothing');
  }
  const start = Number(cursor);
  if (labels.length > 1 && start > MAX_MERGED) {
    throw new CommandError('refused', `more than ${MAX_MERGED} dead letters of all queues: ask for one queue`);
  }
  const from = labels.length === 1 ? start : 0;
  const pages = await Promise.all(
    labels.map(async (label) => {
      const { queue } = await queueNamed(subject, label);
      const [jobs, { failed = 0 }] = await Promise.all([
        queue.getFailed(from, start + limit - 1),
        queue.getJobCounts('failed'),
      ]);
      return { label, failed, jobs: jobs.filter(Boolean) };
    }),
  );
  const total = pages.reduce((sum, { failed }) => sum + failed, 0);
  const rows = pages
    .flatMap(({ label, jobs }) => jobs.map((job) => ({ label, job })))
    .sort((a, b) => (b.job.finishedOn ?? 0) - (a.job.finishedOn ?? 0))
    .slice(start - from, start - from + limit);
  const entries = rows.map(({ label, job }) => ({
    task_id: taskId(label, job.id ?? ''),
    task_name: String(job.name).slice(0, 500),
    queue: label.slice(0, 200),
    failed_at: job.finishedOn ? new Date(job.finishedOn).toISOString() : null,
    error_excerpt: context.excerpt(String(job.failedReason ?? ''), 512),
    attempts: Math.max(Math.trunc(job.attemptsMade) || 0, 0),
  }));
  const next = start + entries.length;
  return {
    entries,
    next_cursor: entries.length > 0 && next < total ? String(next) : null,
    total,
    engine: subject.name,
  };
};

const GRACE = 2000;

interface CancellingWorker {
  readonly closing?: unknown;
  readonly childPool?: { clean(): Promise<void> };
  cancelJob?(id: string, reason: string): boolean;
}

/** A closed worker does not wait for an abandoned sandbox, and misses its child: it would keep the host alive. */
function cleanUpAfter(run: Run, worker: CancellingWorker | undefined): void {
  const clean = (): void => {
    if (worker?.closing) worker.childPool?.clean().catch(() => {});
  };
  run.work?.then(clean, clean);
}

/** Ends a run of this process; resolves with how. */
async function cancelRun(run: Run, id: string): Promise<JsonValue> {
  const message = 'cancelled by an operator';
  const worker = run.worker?.worker as CancellingWorker | undefined;
  const settled = async (ms: number): Promise<boolean> => {
    for (const end = Date.now() + ms; run.outcome === undefined && Date.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 5).unref());
    }
    return run.outcome !== undefined;
  };
  run.revoked = true;
  const isSignalled = worker?.cancelJob?.(id, message) === true;
  if (isSignalled && (await settled(GRACE))) {
    if (run.outcome === 'succeeded') return { noop: true, reason: 'it completed before it heard of the cancellation' };
    return { cancelled: 'active', how: 'signal' };
  }
  run.abandon?.(new Error(message));
  cleanUpAfter(run, worker);
  if (!(await settled(GRACE))) throw new CommandError('indeterminate', 'the broker did not confirm the end of the run');
  if (run.outcome === 'succeeded') return { noop: true, reason: 'it completed first' };
  return { cancelled: 'active', how: 'abandoned', note: 'its result is dropped; its code may still be running' };
}

/** What there is to say where nothing is left to cancel. */
function overIn(state: string): JsonObject | undefined {
  if (FINISHED.has(state)) return { noop: true, reason: `already ${state}` };
  return state === 'unknown' ? { noop: true, reason: 'the broker does not have it' } : undefined;
}

const cancel: Handler = async (subject, { parameters }) => {
  const task = required(parameters, 'task_id');
  const { queue, label, id } = await locate(subject, task);
  const state = await stateOf(queue, id);
  const over = overIn(state);
  if (over !== undefined) return over;
  if (state !== 'active') {
    const removed = await queue.remove(id).catch((error: unknown) => {
      if (/job scheduler/.test(exceptionText(error))) return -1;
      throw error;
    });
    if (removed === 1) return { cancelled: state };
    if (removed < 0) {
      const remedy = 'it is the next run of a schedule: disable or delete the schedule instead';
      throw new CommandError('refused', `${task} cannot be removed: ${remedy}`);
    }
  }
  const runs = liveOf(subject.name).workers.flatMap(({ worker, active }) =>
    placeOf(worker).queue === label ? [...active] : [],
  );
  const run = runs.find(({ job }) => job.id === id);
  if (run !== undefined) return cancelRun(run, id);
  // It may have ended here while the broker's word was on its way.
  const ended = overIn(await stateOf(queue, id));
  if (ended !== undefined) return ended;
  throw new CommandError('not_found', `${task} runs in another process: only the process that runs it can cancel it`);
};

const purge: Handler = async (subject, { parameters }, context) => {
  const { queue, label } = await queueNamed(subject, required(parameters, 'queue'));
  const before = await depthOf(queue);
  context.allowPurge(label, before);
  // The broker empties what it has just listed: what came in between would be gone without a word, and what ran in
  // between would be told as purged.
  const [ids] = await inOnePiece(
    queue,
    () => queue.getRanges(['wait', 'paused', 'prioritized'], 0, -1),
    () => queue.drain(false),
  );
  const place = placeOf(queue);
  let purged = 0;
  for (let at = 0; at < ids.length; at += CHUNK) {
    const chunk = ids.slice(at, at + CHUNK);
    // The next runs of schedules are spared.
    const states = await Promise.all(chunk.map((id) => stateOf(queue, id)));
    for (const [index, id] of chunk.entries()) {
      if (states[index] !== 'unknown') continue;
      purged += 1;
      hub.record(revoked(place, id, undefined, Date.now(), 'purged'));
    }
    await context.yield();
  }
  return { queue: label, purged, depth_before: before };
};

const STATES: { readonly [state: string]: string } = {
  completed: 'success',
  failed: 'failure',
  active: 'started',
  unknown: 'unknown',
};

const reconcile: Handler = async (subject, { parameters }) => {
  const task = required(parameters, 'task_id');
  const { queue, id } = await locate(subject, task);
  const [state, job] = await Promise.all([stateOf(queue, id), queue.getJob(id)]);
  const isFinished = FINISHED.has(state);
  return {
    task_id: task,
    engine_state: STATES[state] ?? 'pending',
    finished_at: isFinished && job?.finishedOn ? new Date(job.finishedOn).toISOString() : null,
    exception: state === 'failed' ? (job?.failedReason ?? null) : null,
  };
};

/** The queue an operator means by the name of a task; a `fresh` task may go to the only queue there is. */
function queueOfTask(subject: Subject, name: string, { fresh = false } = {}): string {
  const objects = [...objectsOf(subject)];
  const found = objects.filter(([label, object]) => label === name || placeOf(object).tasks.has(name));
  const labels = (found.length === 0 && fresh ? objects : found).map(([label]) => label);
  if (labels.length === 1) return labels[0] as string;
  const known = (labels.length > 0 ? labels : objects.map(([label]) => label)).join(', ') || 'none';
  const message = `which queue is ${name} of? Say which; ${subject.name} has: ${known}`;
  throw new CommandError(labels.length > 0 ? 'invalid' : 'not_found', message);
}

const submit: Handler = async (subject, { id: commandId, parameters }) => {
  const name = text(parameters.task_name) ?? required(parameters, 'name');
  const { queue, label } = await queueNamed(
    subject,
    text(parameters.queue) ?? queueOfTask(subject, name, { fresh: true }),
  );
  const fire = text(parameters.fire_id);
  // The broker refuses an id it has: the same fire or command adds one job, whoever repeats it.
  const jobId = fire === undefined ? `command-${commandId}` : `fire-${fire}`;
  const delay = delayOf(parameters);
  const priority = priorityNumber(parameters.priority);
  const job = await queue.add(name, payload(parameters.args, parameters.kwargs), {
    jobId: jobId.replace(/[:/]/g, '-').slice(0, 128),
    ...(delay === undefined ? {} : { delay }),
    ...(priority === undefined ? {} : { priority }),
  });
  return { task_id: taskId(label, job.id ?? ''), engine: subject.name };
};

interface LimitedQueue extends OperableQueue {
  removeRateLimitKey?(): Promise<unknown>;
}

const UNITS: { readonly [unit: string]: number } = { s: 1000, m: 60_000, h: 3_600_000 };

const rateLimit: Handler = async (subject, { parameters }) => {
  const rate = required(parameters, 'rate');
  const [, count, unit = 's'] = /^(\d{1,9})(?:\/([smh]))?$/.exec(rate) ?? [];
  if (count === undefined) throw new CommandError('invalid', `rate ${rate} is none of 0, N, N/s, N/m, N/h`);
  const limit = Number(count) === 0 ? undefined : { max: Number(count), duration: UNITS[unit] as number };
  const worker = text(parameters.worker_name);
  const label = queueOfTask(subject, required(parameters, 'task_name'));
  const applied = { queue: label, rate, ...(limit ?? {}) };
  const workers = liveOf(subject.name).workers.filter((live) => placeOf(live.worker).queue === label);
  if (worker === undefined) {
    const queue: LimitedQueue = (await queueNamed(subject, label)).queue;
    if (queue.setGlobalRateLimit !== undefined && queue.removeGlobalRateLimit !== undefined) {
      if (limit === undefined) await queue.removeGlobalRateLimit();
      else await queue.setGlobalRateLimit(limit.max, limit.duration);
      // What ran under the limit before does not count in this one.
      await queue.removeRateLimitKey?.();
      wake(workers);
      return { ...applied, scope: 'all workers of the queue' };
    }
  } else if (worker !== subject.workerName(label)) {
    throw new CommandError('invalid', `worker ${worker} does not serve ${label}`);
  }
  if (workers.length === 0) throw new CommandError('not_found', `no worker of ${label} in this process`);
  limitWorkers(workers, limit);
  wake(workers);
  return { ...applied, scope: 'workers of this process' };
};

const delta = (parameters: JsonObject): number => {
  const value = parameters.delta;
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 1000) return value;
  throw new CommandError('invalid', `delta is not a number from 1 to 1000: ${JSON.stringify(value)}`);
};

const HANDLERS: { readonly [action: string]: Handler } = {
  submit_task: submit,
  retry_task: retry,
  bulk_retry: bulkRetry,
  requeue_dead_letter: requeue,
  'dlq.list': deadLetters,
  cancel_task: cancel,
  purge_queue: purge,
  reconcile_task: reconcile,
  rate_limit: rateLimit,
  pool_grow: async (subject, { parameters }) => grow(workersNamed(subject, parameters), delta(parameters)),
  pool_shrink: async (subject, { parameters }) => shrink(workersNamed(subject, parameters), delta(parameters)),
  add_consumer: async (subject, { parameters }) => resume(workersNamed(subject, parameters), parameters),
  cancel_consumer: async (subject, { parameters }) => cancelConsumer(workersNamed(subject, parameters), parameters),
  restart_worker: async (subject, { parameters }) => restart(workersNamed(subject, parameters)),
};

/** Carries a command out; rejects with `CommandError`. */
export async function execute(subject: Subject, command: Command, context: CommandContext): Promise<JsonValue> {
  const handler = HANDLERS[command.action];
  if (handler === undefined) throw new CommandError('unsupported', `${subject.name} cannot ${command.action}`);
  try {
    return await handler(subject, command, context);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError('failed', `BullMQ refused: ${exceptionText(error)}`, { cause: error });
  }
}
