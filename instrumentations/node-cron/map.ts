/** What node-cron tells, as events of the brain. Pure. */
import type { EventData, EventKind, Schedule, TaskEvent } from '../../src/engine.js';
import { digest, exceptionText, traceback } from '../common.js';

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

function event(kind: EventKind, run: RunFacts, at: number, more: EventData, here = true): TaskEvent {
  const data = { task_name: run.taskName, schedule: run.schedule, ...more };
  return { kind, engine: ENGINE, taskId: run.id, occurredAt: at, data, ...(here ? { workerOf: '' } : {}) };
}

const due = ({ reason, scheduledFor }: RunFacts): EventData => ({ reason, scheduled_for: scheduledFor });

/** A run came due, or was asked for. */
export const opened = (run: RunFacts, at: number): TaskEvent[] => [
  event('task.received', run, at, { args: [], kwargs: {}, ...due(run) }, false),
  event('schedule.run_started', run, at, due(run)),
];

/** Its code was entered. */
export const started = (run: RunFacts, at: number): TaskEvent =>
  event('task.started', run, at, { overlaps: run.overlaps || undefined });

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

export function closed(run: RunFacts, outcome: Outcome, { at, runtime, totalRuns }: Ended): TaskEvent[] {
  const completed = (data: EventData): TaskEvent =>
    event('schedule.run_completed', run, at, {
      outcome: outcome.kind,
      runtime_ms: runtime,
      total_runs: totalRuns,
      ...data,
    });
  switch (outcome.kind) {
    case 'success':
      return [event('task.succeeded', run, at, { result: outcome.result ?? null, runtime_ms: runtime }), completed({})];
    case 'failure': {
      const exception = exceptionText(outcome.error);
      return [
        event('task.failed', run, at, { exception, traceback: traceback(outcome.error), runtime_ms: runtime }),
        completed({ exception }),
      ];
    }
    default: {
      const { reason, more } = outcome;
      return [event('task.revoked', run, at, { reason, ...more }), completed({ reason, ...more })];
    }
  }
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

let zone: string | undefined;

const localZone = (): string => {
  zone ??= Intl.DateTimeFormat().resolvedOptions().timeZone;
  return zone;
};

export const schedule = ({ createdBy, timezone, ...facts }: ScheduleFacts): Schedule => ({
  ...facts,
  kind: 'cron',
  timezone: timezone ?? localZone(),
  source: `${ENGINE}:${createdBy}`,
});
