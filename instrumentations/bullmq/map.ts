import type { EventData, EventKind, TaskEvent } from '../../src/engine.js';
import { exceptionText, shorten, traceback } from '../common.js';
import type { ForeignJob, JobOptions } from './foreign.js';

/** Where a job lives, in the brain's words. */
export interface Place {
  /** Engine name: `bullmq`, or that of the engine the queue's connection and prefix belong to. */
  readonly engine: string;
  /** Queue name; `prefix:name` when the prefix is not BullMQ's default. */
  readonly queue: string;
}

/** The OpenTelemetry span that was active when a fact was observed. */
export interface Trace {
  readonly trace_id: string;
  readonly span_id: string;
}

/** Task ids within a flow. */
export interface Lineage {
  readonly parent?: string | undefined;
  readonly root?: string | undefined;
}

/** Why a job went back without having failed; the event's `reason`. */
export type PutBack = 'delayed' | 'moved back to waiting' | 'rate limited' | 'waiting for children' | 'stalled';

const DEFAULT_PREFIX = 'bull';
const MAX_ID = 200;

/** What cannot stand in a task id as it is: REST paths know no slash, databases no control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSAFE = /[%/\u0000-\u001f\u007f]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSAFE_ALL = /[%/\u0000-\u001f\u007f]/g;

export function queueLabel(name: string, prefix: string | undefined): string {
  return prefix === undefined || prefix === '' || prefix === DEFAULT_PREFIX ? name : `${prefix}:${name}`;
}

/**
 * `queue:jobId`, at most 200 characters, without slash and control characters. Those are percent-encoded; what is still
 * too long ends in a hash and can be told only by who has seen it.
 */
export function taskId(queue: string, jobId: string): string {
  if (jobId === latest.jobId && queue === latest.queue) return latest.id;
  let id = `${queue}:${jobId}`;
  if (UNSAFE.test(id)) id = id.replace(UNSAFE_ALL, encodeURIComponent);
  id = shorten(id, MAX_ID);
  latest = { queue, jobId, id };
  return id;
}

/** Several events of one job follow each other; the same string is told apart from others by its address. */
let latest = { queue: '', jobId: '', id: ':' };

/** The job id in `id` when it is a task of `queue`; undefined otherwise, and for ids that were shortened. */
export function jobIdOf(id: string, queue: string): string | undefined {
  const encoded = taskId(queue, '');
  if (!id.startsWith(encoded) || id.length === encoded.length) return undefined;
  try {
    return decodeURIComponent(id.slice(encoded.length));
  } catch {
    return undefined;
  }
}

/** `prefix:queue:id` as BullMQ writes parents. Job ids may hold colons, so the queue's own key must be known. */
function parentOf(job: ForeignJob): string | undefined {
  const { parent } = job.opts;
  if (parent?.id === undefined || parent.queue === undefined) return undefined;
  const colon = parent.queue.lastIndexOf(':');
  const prefix = colon === -1 ? undefined : parent.queue.slice(0, colon);
  return taskId(queueLabel(parent.queue.slice(colon + 1), prefix), parent.id);
}

/** BullMQ: 0 or absent is ordinary, 1 comes first, greater numbers come later. */
export function priorityLabel(priority: number | undefined): EventData['priority'] {
  if (priority === undefined || priority === 0) return 'normal';
  if (priority === 1) return 'critical';
  return priority <= 10 ? 'high' : priority <= 100 ? 'normal' : 'low';
}

/** The inverse, for jobs an operator submits. */
export function priorityNumber(label: unknown): number | undefined {
  return label === 'critical' ? 1 : label === 'high' ? 10 : label === 'low' ? 1000 : undefined;
}

/** One payload from the brain's two halves: kwargs when there are any, else the one argument, else all of them. */
export function payload(args: unknown, kwargs: unknown): unknown {
  const list: readonly unknown[] = Array.isArray(args) ? args : [];
  const named = typeof kwargs === 'object' && kwargs !== null ? kwargs : {};
  if (Object.keys(named).length > 0) return list.length > 0 ? { ...named, z4j_args: list } : named;
  return list.length === 1 ? list[0] : list.length === 0 ? {} : list;
}

/** Which run this is: 1 for the first. From 5.0 on BullMQ counts when an attempt ends, before when it begins. */
export function attemptOf(job: ForeignJob): number {
  return job.attemptsStarted === undefined ? Math.max(job.attemptsMade, 1) : job.attemptsMade + 1;
}

export function schedulerKey(job: ForeignJob): string | undefined {
  return job.repeatJobKey ?? job.opts.repeat?.key;
}

/** Whether the id was chosen by the host, so that an add may have met a job that exists. */
export function hasCustomId(job: ForeignJob): boolean {
  return job.opts.jobId !== undefined && job.opts.repeat === undefined && job.repeatJobKey === undefined;
}

export function deduplicationId(opts: JobOptions): string | undefined {
  return opts.deduplication?.id ?? opts.debounce?.id;
}

function event(
  kind: EventKind,
  place: Place,
  job: ForeignJob,
  at: number,
  data: EventData,
  workerOf?: string,
): TaskEvent {
  return { kind, engine: place.engine, taskId: taskId(place.queue, job.id ?? ''), occurredAt: at, data, workerOf };
}

/** The job's options that say something about its way. */
function options(job: ForeignJob): Record<string, unknown> | undefined {
  const { opts } = job;
  const deduplication = deduplicationId(opts);
  const key = schedulerKey(job);
  const delay = job.delay ?? opts.delay;
  if (
    !(opts.attempts && opts.attempts > 1) &&
    !delay &&
    !opts.priority &&
    !opts.lifo &&
    opts.backoff === undefined &&
    opts.jobId === undefined &&
    deduplication === undefined &&
    key === undefined
  ) {
    return undefined;
  }
  return {
    attempts: opts.attempts && opts.attempts > 1 ? opts.attempts : undefined,
    backoff: opts.backoff,
    delay: delay || undefined,
    eta: delay ? new Date(job.timestamp + delay).toISOString() : undefined,
    priority_number: opts.priority || undefined,
    lifo: opts.lifo || undefined,
    job_id: hasCustomId(job) ? opts.jobId : undefined,
    deduplication_id: deduplication,
    scheduler_key: key,
  };
}

export interface Addition extends Lineage {
  readonly trace?: Trace | undefined;
  /** The add may have met a job of this id that existed. */
  readonly maybeDuplicate?: boolean | undefined;
}

/** Log entry of an add. */
export function sent(place: Place, job: ForeignJob, addition: Addition): TaskEvent {
  return event('task.sent', place, job, job.timestamp, {
    task_name: job.name,
    queue: place.queue,
    priority: priorityLabel(job.opts.priority),
    parent_task_id: addition.parent ?? parentOf(job),
    root_task_id: addition.root,
    ...options(job),
    maybe_duplicate: addition.maybeDuplicate || undefined,
    ...addition.trace,
  });
}

/** The row that shows a job with its arguments; the same content from whoever tells it. */
export function received(place: Place, job: ForeignJob, addition: Addition): TaskEvent {
  return event('task.received', place, job, job.timestamp, {
    task_name: job.name,
    queue: place.queue,
    priority: priorityLabel(job.opts.priority),
    args: [job.data],
    kwargs: {},
    parent_task_id: addition.parent ?? parentOf(job),
    root_task_id: addition.root,
    ...options(job),
    ...addition.trace,
  });
}

/** The job waits again though it has not failed. */
export function putBack(place: Place, job: ForeignJob, at: number, reason: PutBack, until?: number): TaskEvent {
  return event('task.received', place, job, at, {
    task_name: job.name,
    queue: place.queue,
    priority: priorityLabel(job.opts.priority),
    args: [job.data],
    kwargs: {},
    parent_task_id: parentOf(job),
    reason,
    delay: until === undefined ? undefined : Math.max(until - at, 0),
    eta: until === undefined ? undefined : new Date(until).toISOString(),
  });
}

export function started(place: Place, job: ForeignJob, at: number, trace: Trace | undefined): TaskEvent {
  return event(
    'task.started',
    place,
    job,
    at,
    {
      task_name: job.name,
      queue: place.queue,
      priority: priorityLabel(job.opts.priority),
      attempt: attemptOf(job),
      ...trace,
    },
    place.queue,
  );
}

/** How a run ended. */
export interface Ending {
  readonly at: number;
  readonly runtimeMs: number | undefined;
  readonly trace: Trace | undefined;
  /** Whether it ran on a worker of this process. */
  readonly here: boolean;
}

export function succeeded(place: Place, job: ForeignJob, result: unknown, ending: Ending): TaskEvent {
  return event(
    'task.succeeded',
    place,
    job,
    ending.at,
    {
      task_name: job.name,
      queue: place.queue,
      priority: priorityLabel(job.opts.priority),
      // What the processor returned: `undefined` is stored by BullMQ as null, and would be left out here.
      result: result === undefined ? null : result,
      runtime_ms: ending.runtimeMs,
      ...ending.trace,
    },
    ending.here ? place.queue : undefined,
  );
}

function failure(place: Place, job: ForeignJob, error: unknown, ending: Ending): EventData {
  return {
    task_name: job.name,
    queue: place.queue,
    priority: priorityLabel(job.opts.priority),
    exception: exceptionText(error),
    traceback: traceback(error),
    runtime_ms: ending.runtimeMs,
    ...ending.trace,
  };
}

export function failed(place: Place, job: ForeignJob, error: unknown, ending: Ending): TaskEvent {
  const data = { ...failure(place, job, error, ending), attempts_made: job.attemptsMade };
  return event('task.failed', place, job, ending.at, data, ending.here ? place.queue : undefined);
}

export function retried(place: Place, job: ForeignJob, error: unknown, ending: Ending): TaskEvent {
  const exception = exceptionText(error);
  const data = {
    ...failure(place, job, error, ending),
    retry_count: job.attemptsMade,
    reason: exception,
    delay: job.delay || undefined,
  };
  return event('task.retried', place, job, ending.at, data, ending.here ? place.queue : undefined);
}

/** The run's end was not accepted by the broker; whoever owns the job now tells what becomes of it. */
export function rejected(place: Place, job: ForeignJob, at: number, reason: string): TaskEvent {
  return event('task.rejected', place, job, at, {
    task_name: job.name,
    queue: place.queue,
    priority: priorityLabel(job.opts.priority),
    reason,
  });
}

export function revoked(place: Place, id: string, job: ForeignJob | undefined, at: number, reason: string): TaskEvent {
  return {
    kind: 'task.revoked',
    engine: place.engine,
    taskId: taskId(place.queue, id),
    occurredAt: at,
    data: {
      task_name: job?.name,
      queue: place.queue,
      priority: job === undefined ? undefined : priorityLabel(job.opts.priority),
      reason,
    },
  };
}
