/** What node-cron tells, as events of the brain. Pure. */
import type { EventData, EventKind, Schedule, TaskEvent } from '../../src/engine.js';
import { digest, exceptionText, localZone, traceback } from '../common.js';

export const ENGINE = 'node-cron';

/** One execution of a schedule. */
export interface RunFacts {
  readonly id: string;
  readonly schedule: string;
  readonly taskName: string;
  readonly reason: 'scheduled' | 'invoked' | 'init';
  /** ISO time with the offset of the schedule's zone, as the library tells it. */
  readonly scheduledFor: string | undefined;
  /** The one before it was still going when this one came due. */
  readonly overlaps: boolean;
}

function event(kind: EventKind, run: RunFacts, at: number, data: EventData, here = true): TaskEvent {
  return { kind, engine: ENGINE, taskId: run.id, occurredAt: at, data, workerOf: here ? '' : undefined };
}

const NO_ARGS: readonly unknown[] = [];
const NO_KWARGS = {};

// Literals with all keys, here and below: spreads would cost more than all the rest of an event.
/** A run came due, or was asked for. */
export function received(run: RunFacts, at: number): TaskEvent {
  const { taskName, schedule, reason, scheduledFor } = run;
  const data = { task_name: taskName, schedule, args: NO_ARGS, kwargs: NO_KWARGS, reason, scheduled_for: scheduledFor };
  return event('task.received', run, at, data, false);
}

export function fired(run: RunFacts, at: number): TaskEvent {
  const { taskName, schedule, reason, scheduledFor } = run;
  const data = { task_name: taskName, schedule, reason, scheduled_for: scheduledFor };
  return event('schedule.run_started', run, at, data);
}

/** Its code was entered. */
export function started(run: RunFacts, at: number): TaskEvent {
  const { taskName, schedule, overlaps } = run;
  return event('task.started', run, at, { task_name: taskName, schedule, overlaps: overlaps || undefined });
}

export type Outcome =
  | { readonly kind: 'success'; readonly result: unknown }
  | { readonly kind: 'failure'; readonly error: unknown }
  /** Came due and did not run. */
  | { readonly kind: 'missed' | 'skipped' | 'dropped'; readonly reason: string; readonly more?: EventData };

export interface Ended {
  readonly at: number;
  readonly runtime: number | undefined;
  /** Runs that were counted since the process started, this one included. */
  readonly totalRuns: number;
}

/** What became of a run. */
export function ended(run: RunFacts, outcome: Outcome, { at, runtime }: Ended): TaskEvent {
  const { taskName: task_name, schedule } = run;
  switch (outcome.kind) {
    case 'success':
      return event('task.succeeded', run, at, {
        task_name,
        schedule,
        result: outcome.result ?? null,
        runtime_ms: runtime,
      });
    case 'failure': {
      const { error } = outcome;
      const data = {
        task_name,
        schedule,
        exception: exceptionText(error),
        traceback: traceback(error),
        runtime_ms: runtime,
      };
      return event('task.failed', run, at, data);
    }
    default:
      return event('task.revoked', run, at, { task_name, schedule, reason: outcome.reason, ...outcome.more });
  }
}

export function completed(run: RunFacts, outcome: Outcome, { at, runtime, totalRuns }: Ended): TaskEvent {
  const data = {
    task_name: run.taskName,
    schedule: run.schedule,
    outcome: outcome.kind,
    runtime_ms: runtime,
    total_runs: totalRuns,
    reason: 'reason' in outcome ? outcome.reason : undefined,
    exception: outcome.kind === 'failure' ? exceptionText(outcome.error) : undefined,
  };
  return event('schedule.run_completed', run, at, data);
}

/** The id of a slot in which nothing ran: the same in every process that missed it. */
export const slotId = (schedule: string, slot: number): string => `slot-${digest(schedule)}-${slot}`;

export interface ScheduleFacts {
  readonly name: string;
  readonly taskName: string;
  readonly expression: string;
  readonly timezone: string | undefined;
  readonly enabled: boolean;
  readonly lastRunAt: number | undefined;
  readonly nextRunAt: number | undefined;
  readonly totalRuns: number;
  readonly createdBy: 'code' | 'operator';
}

export const schedule = ({ createdBy, timezone, ...facts }: ScheduleFacts): Schedule => ({
  ...facts,
  kind: 'cron',
  timezone: timezone ?? localZone(),
  source: `${ENGINE}:${createdBy}`,
});
