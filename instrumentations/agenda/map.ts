/** What Agenda tells, as events of the brain. Pure. */
import type { EventData, EventKind, Schedule, TaskEvent } from '../../src/engine.js';
import { exceptionText, localZone, shorten, traceback } from '../common.js';
import { type Attrs, idOf, isRecurring, timeOf } from './foreign.js';

/** The OpenTelemetry span that was active when a fact was observed. */
export interface Trace {
  readonly trace_id: string;
  readonly span_id: string;
}

/** The run that asked for a job. */
export interface Lineage {
  readonly parent?: string | undefined;
  readonly root?: string | undefined;
}

const MAX_ID = 200;
const UNSAFE = /[/\s]/;
const UNSAFE_ALL = /[/\s]/g;

/**
 * The job's `_id`; of a job that recurs, each execution is a task of its own, named after the instant that the library
 * itself stores before the handler is called.
 */
export function taskId(attrs: Attrs, lastRunAt: number | undefined = timeOf(attrs.lastRunAt)): string {
  const key = idOf(attrs) ?? '';
  const id = shorten(UNSAFE.test(key) ? key.replace(UNSAFE_ALL, '_') : key, MAX_ID - 20);
  return isRecurring(attrs) && lastRunAt !== undefined ? `${id}:${lastRunAt}` : id;
}

/** `_id` and, for an execution of a recurring job, when it began. */
export function partsOf(id: string): { readonly id: string; readonly lastRunAt: number | undefined } {
  const [, job = id, at] = /^(.*):(\d{10,})$/.exec(id) ?? [];
  return { id: job, lastRunAt: at === undefined ? undefined : Number(at) };
}

export function priorityLabel(priority: number | undefined): EventData['priority'] {
  if (priority === undefined) return 'normal';
  return priority >= 20 ? 'critical' : priority > 0 ? 'high' : priority === 0 ? 'normal' : 'low';
}

export function priorityNumber(label: unknown): number | undefined {
  return label === 'critical' ? 20 : label === 'high' ? 10 : label === 'normal' ? 0 : label === 'low' ? -10 : undefined;
}

/**
 * When a job was made. An ObjectId knows it to the second, which is what a brain tells repeated events by, and every
 * process reads the same in it.
 */
export function madeAt(attrs: Attrs, seen: number): number {
  const id = idOf(attrs) ?? '';
  if (!/^[0-9a-f]{24}$/.test(id)) return seen;
  const second = Number.parseInt(id.slice(0, 8), 16) * 1000;
  // Ids of other makers; a clock that is off.
  if (Math.abs(seen - second) > 366 * 86_400_000) return seen;
  return Math.floor(seen / 1000) * 1000 === second ? seen : second;
}

function event(kind: EventKind, engine: string, id: string, at: number, data: EventData, here = false): TaskEvent {
  return { kind, engine, taskId: id, occurredAt: at, data, workerOf: here ? '' : undefined };
}

/** Jobs that were added at once were so in one millisecond. */
let lastIso = { time: 0, text: new Date(0).toISOString() };

function iso(time: number | undefined): string | undefined {
  if (time !== undefined && time !== lastIso.time) lastIso = { time, text: new Date(time).toISOString() };
  return time === undefined ? undefined : lastIso.text;
}

/** When it shall run, where that is later. */
function eta({ nextRunAt }: Attrs, at: number): string | undefined {
  const next = timeOf(nextRunAt);
  return next === undefined || next - at < 1000 ? undefined : iso(next);
}

// Literals with all keys, here and below: spreads would cost more than all the rest of an event.
export function sent(engine: string, attrs: Attrs, at: number, lineage: Lineage, trace: Trace | undefined): TaskEvent {
  return event('task.sent', engine, taskId(attrs), at, {
    task_name: attrs.name,
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    eta: eta(attrs, at),
    maybe_duplicate: attrs.unique !== undefined || undefined,
    parent_task_id: lineage.parent,
    root_task_id: lineage.root,
    trace_id: trace?.trace_id,
    span_id: trace?.span_id,
  });
}

const NOBODY: Lineage = {};
const NO_ARGS: readonly unknown[] = [];
const NO_KWARGS = {};

/** The row that shows a job with its arguments. */
export function received(
  engine: string,
  attrs: Attrs,
  id: string,
  at: number,
  lineage: Lineage = NOBODY,
  trace?: Trace,
): TaskEvent {
  return event('task.received', engine, id, at, {
    task_name: attrs.name,
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    args: attrs.data == null ? NO_ARGS : [attrs.data],
    kwargs: NO_KWARGS,
    eta: eta(attrs, at),
    parent_task_id: lineage.parent,
    root_task_id: lineage.root,
    trace_id: trace?.trace_id,
    span_id: trace?.span_id,
  });
}

/** One execution. */
export interface RunFacts {
  readonly id: string;
  readonly attrs: Attrs;
  readonly recurring: boolean;
  /** 1 for the first. */
  readonly attempt: number;
  /** When the plan wanted it, milliseconds. */
  readonly plannedAt: number | undefined;
  /** Another run of the job was still going here: its lock had expired. */
  readonly lockExpired: boolean;
}

export function started(engine: string, run: RunFacts, at: number): TaskEvent {
  const { attrs, id, attempt, plannedAt, lockExpired } = run;
  const data = {
    task_name: attrs.name,
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    attempt,
    scheduled_for: iso(plannedAt),
    lock_expired: lockExpired || undefined,
  };
  return event('task.started', engine, id, at, data, true);
}

export function fired(engine: string, { attrs, id, plannedAt }: RunFacts, at: number): TaskEvent {
  const data = { task_name: attrs.name, queue: attrs.name, schedule: attrs.name, scheduled_for: iso(plannedAt) };
  return event('schedule.run_started', engine, id, at, data, true);
}

export type Outcome =
  | { readonly kind: 'success'; readonly soft: string | undefined }
  | { readonly kind: 'failure'; readonly error: unknown }
  | { readonly kind: 'retry'; readonly error: unknown; readonly at: number | undefined }
  | { readonly kind: 'revoked' | 'lost'; readonly reason: string };

export interface Ending {
  readonly at: number;
  readonly runtime: number | undefined;
}

function failed(engine: string, run: RunFacts, error: unknown, { at, runtime }: Ending): TaskEvent {
  const { attrs, id, attempt } = run;
  const data = {
    task_name: attrs.name,
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    exception: exceptionText(error),
    traceback: traceback(error),
    runtime_ms: runtime,
    attempt,
    fail_count: attrs.failCount ?? undefined,
  };
  return event('task.failed', engine, id, at, data, true);
}

function retried(engine: string, run: RunFacts, error: unknown, next: number | undefined, end: Ending): TaskEvent {
  const { attrs, id, attempt } = run;
  const exception = exceptionText(error);
  const data = {
    task_name: attrs.name,
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    exception,
    traceback: traceback(error),
    runtime_ms: end.runtime,
    retry_count: attempt,
    reason: exception,
    delay: next === undefined ? undefined : Math.max(0, next - end.at),
    eta: iso(next),
  };
  return event('task.retried', engine, id, end.at, data, true);
}

function succeeded(engine: string, run: RunFacts, soft: string | undefined, { at, runtime }: Ending): TaskEvent {
  const { attrs, id, attempt } = run;
  const data = {
    task_name: attrs.name,
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    result: attrs.shouldSaveResult ? (attrs.result ?? null) : null,
    runtime_ms: runtime,
    attempt,
    soft_failure: soft,
  };
  return event('task.succeeded', engine, id, at, data, true);
}

/** The run before, of which nobody in this process knows anything: it bears no worker. */
function lost(engine: string, { attrs, id, recurring, attempt }: RunFacts, at: number, reason: string): TaskEvent {
  const data = {
    task_name: attrs.name,
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    exception: reason,
    reason,
    retry_count: recurring ? undefined : attempt,
  };
  return event(recurring ? 'task.failed' : 'task.retried', engine, id, at, data);
}

/** How a run ended. An execution of a recurring job is over with its failure: the retry is another one. */
export function ended(engine: string, run: RunFacts, outcome: Outcome, end: Ending): TaskEvent[] {
  const events: TaskEvent[] = [];
  switch (outcome.kind) {
    case 'success':
      events.push(succeeded(engine, run, outcome.soft, end));
      break;
    case 'retry':
      events.push(retried(engine, run, outcome.error, outcome.at, end));
      if (run.recurring) events.push(failed(engine, run, outcome.error, end));
      break;
    case 'failure':
      events.push(failed(engine, run, outcome.error, end));
      break;
    case 'lost':
      events.push(lost(engine, run, end.at, outcome.reason));
      break;
    case 'revoked':
      events.push(revoked(engine, run.attrs, run.id, end.at, outcome.reason, true));
  }
  if (run.recurring) {
    const { name } = run.attrs;
    const data = { task_name: name, queue: name, schedule: name, outcome: outcome.kind, runtime_ms: end.runtime };
    events.push(event('schedule.run_completed', engine, run.id, end.at, data));
  }
  return events;
}

export function revoked(engine: string, attrs: Attrs, id: string, at: number, reason: string, here = false): TaskEvent {
  const data = { task_name: attrs.name, queue: attrs.name, priority: priorityLabel(attrs.priority), reason };
  return event('task.revoked', engine, id, at, data, here);
}

/** What a run did after the job was no longer its own. */
export function late(engine: string, { attrs, id }: RunFacts, at: number, reason: string): TaskEvent {
  return event('task.rejected', engine, id, at, { task_name: attrs.name, queue: attrs.name, reason });
}

/** Where a job stands, first match wins; the library's own states mix running with reserved. */
export type State = 'stalled' | 'running' | 'reserved' | 'paused' | 'failed' | 'scheduled' | 'queued' | 'completed';

export function stateOf(attrs: Attrs, now: number, lockLifetime = 600_000): State {
  const at = (date: Date | null | undefined): number => timeOf(date) ?? 0;
  const locked = timeOf(attrs.lockedAt);
  if (locked !== undefined) {
    if (locked < now - lockLifetime) return 'stalled';
    return at(attrs.lastRunAt) > at(attrs.lastFinishedAt) ? 'running' : 'reserved';
  }
  if (attrs.disabled) return 'paused';
  const next = timeOf(attrs.nextRunAt);
  if (at(attrs.failedAt) > 0 && at(attrs.failedAt) >= at(attrs.lastFinishedAt) && next === undefined) return 'failed';
  if (next !== undefined) return next > now ? 'scheduled' : 'queued';
  return 'completed';
}

const CRON = /^([\d*/,?-]+\s+){2,3}[\w*/,?#-]+(\s+[\w*/,?#-]+){2}$/;

/** Kind and text of a plan; `interval` is in milliseconds where the text is none that says it. */
export function planOf(
  { repeatInterval, repeatAt }: Attrs,
  interval: number | undefined,
): Pick<Schedule, 'kind' | 'expression'> {
  if (repeatInterval == null || repeatInterval === '') return { kind: 'cron', expression: `daily at ${repeatAt}` };
  const text = String(repeatInterval).trim();
  if (/^\d+(\.\d+)?$/.test(text)) return { kind: 'interval', expression: String(Number(text) / 1000) };
  if (CRON.test(text) || interval === undefined) return { kind: 'cron', expression: text };
  return { kind: 'interval', expression: String(interval / 1000) };
}

/** Recurs by `repeatAt` alone. */
export const isDaily = ({ repeatInterval, repeatAt }: Attrs): boolean =>
  (repeatInterval == null || repeatInterval === '') && repeatAt != null && repeatAt !== '';

/** The time of day in what `planOf` makes of `repeatAt`. */
export const dailyAt = (expression: string): string | undefined => /^daily at (.+)$/.exec(expression.trim())?.[1];

export const isCron = ({ repeatInterval }: Attrs): boolean => CRON.test(String(repeatInterval ?? '').trim());

export function scheduleRow(
  attrs: Attrs,
  facts: { readonly name: string; readonly interval: number | undefined; readonly totalRuns: number },
): Schedule {
  const plan = planOf(attrs, facts.interval);
  return {
    name: facts.name,
    taskName: attrs.name,
    ...plan,
    timezone: (isDaily(attrs) ? undefined : attrs.repeatTimezone) ?? (plan.kind === 'cron' ? localZone() : undefined),
    queue: attrs.name,
    priority: priorityLabel(attrs.priority),
    args: attrs.data == null ? [] : [attrs.data],
    kwargs: {},
    enabled: attrs.disabled !== true,
    lastRunAt: timeOf(attrs.lastRunAt),
    nextRunAt: timeOf(attrs.nextRunAt),
    totalRuns: facts.totalRuns,
    source: 'agenda:document',
  };
}
