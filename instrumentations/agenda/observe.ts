/** What happens to jobs, from the calls that Agenda itself makes. */
import { isDeepStrictEqual } from 'node:util';
import { hub, type TaskEvent } from '../../src/engine.js';
import { type CurrentRun, currentRun, traceIds } from '../common.js';
import { type ForeignAgenda, type ForeignJob, idOf, isRecurring, timeOf } from './foreign.js';
import {
  ended,
  fired,
  late,
  madeAt,
  type Outcome,
  received,
  revoked,
  sent,
  started,
  type Trace,
  taskId,
} from './map.js';
import { engineOf, type Run, registry, remember, seen } from './registry.js';

function record(events: readonly TaskEvent[]): void {
  for (const event of events) hub.record(event);
}

const engineName = (job: ForeignJob): string => engineOf(job.agenda).name;

/** What is known before the library stores a job. */
export interface Saving {
  readonly at: number;
  readonly isNew: boolean;
  readonly current: CurrentRun | undefined;
  readonly trace: Trace | undefined;
  told: boolean;
}

/** Jobs on their way to the database. */
const under = new Map<ForeignJob, Saving>();

/** Undefined: the library saves its own progress (3–5), which is not a fact of its own. */
export function saving(job: ForeignJob): Saving | undefined {
  const run = registry.runs.get(job);
  if (run !== undefined && !run.over && run.failure === undefined) return undefined;
  const isNew = job.attrs._id == null;
  if (!isNew && !isRecurring(job.attrs)) rescheduled(job);
  const trace = hub.recorder === undefined ? undefined : traceIds();
  const facts: Saving = { at: Date.now(), isNew, current: currentRun.getStore(), trace, told: false };
  if (isNew) under.set(job, facts);
  return facts;
}

/** The save is over, one way or the other. */
export function unsaved(job: ForeignJob): void {
  under.delete(job);
}

export function saved(job: ForeignJob, facts: Saving): void {
  under.delete(job);
  const { attrs } = job;
  const id = idOf(attrs);
  if (id === undefined || facts.told) return;
  facts.told = true;
  const { at, isNew, current, trace } = facts;
  if (isRecurring(attrs)) {
    registry.schedules.add(id);
    engineOf(job.agenda).schedulesChanged();
    return;
  }
  if (!isNew) return;
  const earlier = registry.pending.get(id);
  registry.pending.set(id, attrs);
  if (hub.recorder === undefined) return;
  const made = madeAt(attrs, at);
  const lineage = { parent: current?.taskId, root: current?.rootId };
  hub.record(sent(engineName(job), attrs, made, lineage, trace));
  if (tell(id)) hub.record(received(engineName(job), attrs, id, made, lineage, trace));
  // A unique job that was there already: whose data it keeps the database knows, and its next run tells.
  else if (attrs.unique !== undefined && !isDeepStrictEqual(earlier?.data, attrs.data)) registry.told.set(id, false);
}

/** Whether this is the first time that somebody here tells of the job. */
function tell(id: string): boolean {
  if (registry.told.has(id)) return false;
  registry.told.set(id, true);
  return true;
}

/** 3–5: a failed job that is saved with a later `nextRunAt` is tried again. */
function rescheduled(job: ForeignJob): void {
  const next = timeOf(job.attrs.nextRunAt);
  const failed = timeOf(job.attrs.failedAt);
  if (next === undefined || failed === undefined || next <= failed) return;
  const run = registry.runs.get(job);
  if (run?.failure === undefined || run.failure.retryAt !== undefined) return;
  run.failure.retryAt = next;
  if (!run.over || hub.recorder === undefined) return;
  // After the failure was told: the log shows both.
  const facts = { at: Date.now(), runtime: undefined };
  record(ended(engineName(job), run, { kind: 'retry', error: run.failure.error, at: next }, facts));
}

/** A job as it was before the library wrote to it. */
export interface Before {
  readonly plannedAt: number | undefined;
  readonly lastRunAt: number | undefined;
  readonly lastFinishedAt: number | undefined;
  readonly failCount: number;
}

export const before = ({ attrs }: ForeignJob): Before => ({
  plannedAt: timeOf(attrs.nextRunAt),
  lastRunAt: timeOf(attrs.lastRunAt),
  lastFinishedAt: timeOf(attrs.lastFinishedAt),
  failCount: attrs.failCount ?? 0,
});

function attemptOf(job: ForeignJob, { failCount }: Before, recurring: boolean): number {
  const { definitions } = job.agenda;
  if (definitions?.[job.attrs.name]?.backoff !== undefined) return failCount + 1;
  // Without a backoff the count is one of a lifetime.
  return recurring ? 1 : failCount + 1;
}

const EXPIRED = 'the lock of the run expired and the job was given to another; touch() keeps the lock of a long run';

/** A placeholder from before the call: 3–5 save through the job itself. */
export function beginRun(job: ForeignJob, earlier: Before): Run {
  const recurring = isRecurring(job.attrs);
  const run: Run = {
    job,
    id: '',
    attrs: job.attrs,
    recurring,
    attempt: attemptOf(job, earlier, recurring),
    plannedAt: earlier.plannedAt,
    lockExpired: false,
    startedAt: Date.now(),
    begun: false,
    over: false,
    failure: undefined,
    soft: undefined,
    revoked: undefined,
    adopted: false,
  };
  registry.runs.set(job, run);
  return run;
}

/** `lastRunAt` is set now: the run has its name. */
export function nameRun(run: Run, earlier: Before): void {
  const { attrs } = run.job;
  const key = idOf(attrs) ?? '';
  const others = registry.active.get(key);
  run.startedAt = timeOf(attrs.lastRunAt) ?? Date.now();
  run.id = taskId(attrs, run.startedAt);
  run.lockExpired = others !== undefined;
  if (others === undefined) {
    lost(run, earlier);
    registry.active.set(key, [run]);
    return;
  }
  for (const other of others) {
    // What becomes of the run before is of no more account. Of a recurring job it has its own name.
    if (other.recurring || other.over) continue;
    finish(other, { kind: 'retry', error: Object.assign(new Error(EXPIRED), { stack: undefined }), at: undefined });
  }
  others.push(run);
}

/** The document says that somebody began and nobody finished, and it is nobody here. */
function lost(run: Run, { lastRunAt, lastFinishedAt = 0, plannedAt }: Before): void {
  if (hub.recorder === undefined || lastRunAt === undefined || lastRunAt <= lastFinishedAt) return;
  const { job, recurring, attempt } = run;
  const facts = { ...run, id: taskId(job.attrs, lastRunAt), attempt: Math.max(1, attempt - 1), plannedAt };
  const reason = 'lost: the run before was never finished in the database; its process died, stopped or took too long';
  record(
    ended(engineName(job), { ...facts, recurring }, { kind: 'lost', reason }, { at: Date.now(), runtime: undefined }),
  );
}

export function onStart(job: ForeignJob): void {
  const run = registry.runs.get(job);
  if (run === undefined || run.begun) return;
  run.begun = true;
  const id = idOf(job.attrs) ?? '';
  // 3–5 may run a job before they have answered its save.
  if (under.size > 0 && !registry.told.has(id)) {
    for (const [other, facts] of under) if (idOf(other.attrs) === id) saved(other, facts);
  }
  registry.pending.delete(id);
  if (run.recurring) registry.counts.set(id, (registry.counts.get(id) ?? 0) + 1);
  if (hub.recorder === undefined) return;
  const engine = engineName(job);
  const now = Date.now();
  if (run.recurring) hub.record(received(engine, job.attrs, run.id, run.startedAt));
  else if (registry.told.get(id) === false) {
    registry.told.set(id, true);
    hub.record(received(engine, { ...job.attrs, nextRunAt: undefined }, id, run.startedAt));
  } else if (run.attempt === 1 && tell(id)) {
    const made = madeAt(job.attrs, Math.min(run.plannedAt ?? now, now));
    hub.record(received(engine, { ...job.attrs, nextRunAt: undefined }, id, Math.min(made, run.startedAt)));
  }
  if (run.recurring) hub.record(fired(engine, run, run.startedAt));
  hub.record(started(engine, run, run.startedAt));
}

function finish(run: Run, outcome: Outcome): void {
  if (run.over) {
    const reason = 'this run ended after another run of the job had begun; that one tells what becomes of it';
    if (hub.recorder !== undefined) hub.record(late(engineName(run.job), run, Date.now(), reason));
    return;
  }
  run.over = true;
  const at = Date.now();
  const told: Outcome = run.revoked === undefined ? outcome : { kind: 'revoked', reason: run.revoked };
  const state = told.kind === 'success' ? 'success' : told.kind === 'revoked' ? 'unknown' : 'failure';
  remember(run.id, state, at, told.kind === 'failure' || told.kind === 'retry' ? told.error : undefined);
  if (hub.recorder !== undefined) {
    const runtime = run.begun ? at - run.startedAt : undefined;
    record(ended(engineName(run.job), run, told, { at, runtime }));
  }
}

/** A run that had begun before the library was patched is told from its end, with the time at which it began. */
export function adopt(job: ForeignJob, failed: boolean): void {
  const lastRunAt = timeOf(job.attrs.lastRunAt);
  if (registry.runs.has(job) || lastRunAt === undefined || job.agenda.forkedWorker) return;
  seen(job.agenda);
  const { failCount, ...earlier } = before(job);
  // The failure is counted already.
  const run = beginRun(job, { ...earlier, failCount: Math.max(0, failCount - (failed ? 1 : 0)) });
  run.adopted = true;
  nameRun(run, { plannedAt: undefined, lastRunAt: undefined, lastFinishedAt: undefined, failCount });
  onStart(job);
}

export function onSuccess(job: ForeignJob): void {
  const run = registry.runs.get(job);
  if (run !== undefined) finish(run, { kind: 'success', soft: run.soft });
}

/** What becomes of the job is told by what follows: a retry, the host's own rescheduling, or nothing. */
export function onFail(job: ForeignJob, error: unknown): void {
  const run = registry.runs.get(job);
  if (run !== undefined) run.failure = { error };
}

export function onRetry(job: ForeignJob, details: { nextRunAt?: Date } | undefined): void {
  const run = registry.runs.get(job);
  if (run?.failure !== undefined) run.failure.retryAt = timeOf(details?.nextRunAt) ?? Date.now();
}

export function onComplete(job: ForeignJob): void {
  const run = registry.runs.get(job);
  if (run === undefined) return;
  if (run.failure !== undefined) {
    const { error, retryAt } = run.failure;
    finish(run, retryAt === undefined ? { kind: 'failure', error } : { kind: 'retry', error, at: retryAt });
  }
  if (run.adopted) endRun(run, undefined);
}

/** The promise of `run()` is settled: nothing more comes. */
export function endRun(run: Run, cause: unknown): void {
  const key = idOf(run.job.attrs) ?? '';
  const others = registry.active.get(key);
  const index = others?.indexOf(run) ?? -1;
  if (index !== -1 && others?.length === 1) registry.active.delete(key);
  else if (index !== -1) others?.splice(index, 1);
  // A listener that throws keeps Agenda from saying `complete`.
  if (run.failure !== undefined && !run.over) onComplete(run.job);
  if (run.over) {
    // Of a failed run it may still be asked whether it was saved again.
    if (run.failure === undefined && registry.runs.get(run.job) === run) registry.runs.delete(run.job);
    return;
  }
  if (!run.begun) {
    // Else the database was away: the job stays locked and runs later.
    if (/does not exist/.test(String(cause))) finish(run, { kind: 'revoked', reason: 'removed before it could start' });
    else run.over = true;
  } else finish(run, { kind: 'failure', error: cause ?? new Error('the run ended without a result') });
}

/** 6 and hokify: called by the processor when the lock expired, by the host, or by us. */
export function onCancel(job: ForeignJob, error: unknown): void {
  const run = registry.runs.get(job);
  if (run === undefined || run.over || run.revoked !== undefined) return;
  const message = error instanceof Error ? error.message : '';
  if (!/^execution of .* canceled, /s.test(message)) {
    run.soft ??= message === '' ? 'canceled' : message;
    return;
  }
  finish(run, run.recurring ? { kind: 'failure', error } : { kind: 'retry', error, at: undefined });
}

/** A job of this process that has no plan: removing it changes no schedule. */
function isOneShot(id: string): boolean {
  if (registry.schedules.has(id)) return false;
  const runs = registry.active.get(id);
  return runs === undefined ? registry.pending.has(id) : runs.every(({ recurring }) => !recurring);
}

/**
 * Jobs that were removed by their ids, of which this process knows that they had not begun. Returns whether one of
 * them may have been a schedule: most are jobs that the library removes when they are done.
 */
export function onRemoved(agenda: ForeignAgenda, ids: readonly string[]): boolean {
  const schedules = ids.length === 0 || !ids.every(isOneShot);
  for (const id of ids) {
    registry.schedules.delete(id);
    const attrs = registry.pending.get(id);
    if (attrs === undefined || registry.active.has(id)) continue;
    registry.pending.delete(id);
    if (hub.recorder !== undefined) {
      hub.record(revoked(engineOf(agenda).name, attrs, taskId(attrs), Date.now(), 'removed by its application'));
    }
  }
  return schedules;
}
