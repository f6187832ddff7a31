/** The schedules and runs of this thread, whichever copy of node-cron they came through. */
import { randomUUID } from 'node:crypto';
import { hub, type Schedule, type ScheduleOverride } from '../../src/engine.js';
import { inRun, type Method, Recent } from '../common.js';
import { nextMatch } from './expressions.js';
import { type Generation, isEnabled, type Task } from './foreign.js';
import {
  completed,
  type Ended,
  ended,
  fired,
  type Outcome,
  type RunFacts,
  received,
  schedule,
  slotId,
  started,
} from './map.js';

/** One loaded copy of the library. */
export interface Copy {
  readonly version: string;
  /** Its exported functions as the host sees them, for schedules that an operator creates. */
  readonly schedule: Method;
  readonly validate: ((expression: string) => boolean) | undefined;
}

export interface Run extends RunFacts {
  readonly entry: Entry;
  startedAt: number | undefined;
  onEnd: ((outcome: Outcome) => void) | undefined;
}

/** A schedule of this process. */
export interface Entry {
  readonly name: string;
  readonly taskName: string;
  readonly copy: Copy;
  readonly handler: unknown;
  readonly createdBy: 'code' | 'operator';
  readonly definedAt: string | undefined;
  task: Task;
  generation: Generation;
  expression: string;
  timezone: string | undefined;
  /** 2.x and 3.x: the host's function with our watch around it. */
  call: Method | undefined;
  readonly runs: Map<string, Run>;
  /** Who asked for runs outside the plan that have not begun yet. */
  readonly invokers: ((run: Run) => void)[];
  totalRuns: number;
  lastRunAt: number | undefined;
  /** Slots that another process of the fleet was elected for. */
  skipped: number;
  overlap: boolean;
  maxReached: boolean;
  missed: { first: number; last: number; count: number } | undefined;
  /** The row as it was when the library was shut down; what happens afterwards is not the operator's concern. */
  frozen: Schedule | undefined;
}

export interface Change {
  readonly kind: 'defined' | 'enabled' | 'disabled' | 'updated' | 'deleted';
  readonly entry: Entry;
  readonly cause: 'code' | 'operator' | 'max executions';
}

export interface Finished {
  readonly state: 'success' | 'failure' | 'unknown';
  readonly at: number;
  readonly error: unknown;
}

interface Registry {
  readonly entries: Map<string, Entry>;
  readonly byTask: WeakMap<Task, Entry>;
  readonly listeners: Set<(change: Change) => void>;
  /** What shall hold instead of what the code says, asked when the code says it. */
  overrides: ((schedule: Schedule) => ScheduleOverride | undefined) | undefined;
  /** Last runs, for those who ask what became of one. */
  readonly finished: Recent<Finished>;
  /** Set while an operator's command is at work. */
  cause: Change['cause'];
  /** One line of log per cause. */
  warn: ((cause: string, message: string) => void) | undefined;
  /** The task name of the schedule that an operator is creating at this moment. */
  creating: string | undefined;
}

const KEY = Symbol.for('z4j.bare.node-cron.registry');
const globals = globalThis as { [KEY]?: Registry };

globals[KEY] ??= {
  entries: new Map(),
  byTask: new WeakMap(),
  listeners: new Set(),
  overrides: undefined,
  finished: new Recent(1000),
  cause: 'code',
  warn: undefined,
  creating: undefined,
};

export const registry: Registry = globals[KEY];

/** The name itself, or with `~2`, `~3` … where it is taken, in the order of creation. */
export function freeName(name: string): string {
  for (const [key, { frozen }] of registry.entries) if (frozen !== undefined) registry.entries.delete(key);
  if (!registry.entries.has(name)) return name;
  let n = 2;
  while (registry.entries.has(`${name}~${n}`)) n += 1;
  return `${name}~${n}`;
}

export function changed(kind: Change['kind'], entry: Entry): void {
  if (entry.frozen !== undefined) return;
  const cause = entry.maxReached ? 'max executions' : registry.cause;
  for (const listener of registry.listeners) listener({ kind, entry, cause });
}

interface NextRun {
  readonly expression: string;
  readonly timezone: string | undefined;
  readonly askedAt: number;
  readonly at: number | undefined;
}

/** Asking takes a tenth of a millisecond and more, and the answer holds until it has passed. */
const nextRuns = new WeakMap<Entry, NextRun>();

export function nextRunAt(entry: Entry): number | undefined {
  const { task, generation, expression, timezone } = entry;
  if (!isEnabled(task)) return undefined;
  const now = Date.now();
  const known = nextRuns.get(entry);
  if (known?.at !== undefined && known.at > now && known.askedAt <= now) {
    if (known.expression === expression && known.timezone === timezone) return known.at;
  }
  const at =
    generation === 4
      ? task.getNextRun?.()?.getTime()
      : nextMatch(expression, timezone, now, generation === 2 ? 'or' : 'and');
  nextRuns.set(entry, { expression, timezone, askedAt: now, at });
  return at;
}

export function rowOf(entry: Entry): Schedule {
  if (entry.frozen !== undefined) return entry.frozen;
  const { name, taskName, expression, timezone, lastRunAt, totalRuns, createdBy } = entry;
  return schedule({
    name,
    taskName,
    expression,
    timezone,
    lastRunAt,
    totalRuns,
    createdBy,
    enabled: isEnabled(entry.task),
    nextRunAt: nextRunAt(entry),
  });
}

function tellEnd(run: RunFacts, outcome: Outcome, end: Ended): void {
  hub.record(ended(run, outcome, end));
  hub.record(completed(run, outcome, end));
}

export interface Opening {
  readonly id?: string | undefined;
  readonly reason: RunFacts['reason'];
  readonly scheduledFor?: string | undefined;
}

/** A run came due, or was asked for. */
export function openRun(entry: Entry, { id = randomUUID(), reason, scheduledFor }: Opening): Run {
  const at = Date.now();
  const { name, taskName, overlap } = entry;
  const run: Run = {
    id,
    entry,
    schedule: name,
    taskName,
    reason,
    scheduledFor,
    overlaps: overlap,
    startedAt: undefined,
    onEnd: undefined,
  };
  entry.overlap = false;
  entry.runs.set(id, run);
  entry.totalRuns += 1;
  entry.lastRunAt = at;
  if (reason === 'invoked') entry.invokers.shift()?.(run);
  if (hub.recorder !== undefined) {
    hub.record(received(run, at));
    hub.record(fired(run, at));
  }
  return run;
}

/** Its code is entered now. */
export function enterRun(run: Run, at: number): void {
  run.startedAt = at;
  if (hub.recorder !== undefined && run.entry.runs.has(run.id)) hub.record(started(run, at));
}

/** What is told twice, or too late, is told once. */
export function closeRun(run: Run, outcome: Outcome, at = Date.now()): void {
  if (!run.entry.runs.delete(run.id)) return;
  const { startedAt } = run;
  const runtime = startedAt === undefined ? undefined : Math.max(0, at - startedAt);
  const state = outcome.kind === 'success' || outcome.kind === 'failure' ? outcome.kind : 'unknown';
  registry.finished.set(run.id, { state, at, error: outcome.kind === 'failure' ? outcome.error : undefined });
  if (hub.recorder !== undefined) tellEnd(run, outcome, { at, runtime, totalRuns: run.entry.totalRuns });
  run.onEnd?.(outcome);
}

/** Ends the runs that wait for a random delay and will not begin. */
export function dropWaiting(entry: Entry, reason: string): void {
  const { runner } = entry.task;
  if (runner === undefined || !('jitterTimeout' in runner)) return;
  for (const run of [...entry.runs.values()]) {
    if (run.startedAt === undefined && run.reason === 'scheduled') closeRun(run, { kind: 'dropped', reason });
  }
}

/** A slot in which nothing ran. */
export function lostSlot(entry: Entry, slot: number, outcome: Outcome): void {
  if (hub.recorder === undefined) return;
  const { name, taskName, totalRuns } = entry;
  const scheduledFor = new Date(slot).toISOString();
  const facts: RunFacts = {
    id: slotId(name, slot),
    schedule: name,
    taskName,
    reason: 'scheduled',
    scheduledFor,
    overlaps: false,
  };
  tellEnd(facts, outcome, { at: Date.now(), runtime: undefined, totalRuns });
}

/** The code runs as a task of its own, whatever it was scheduled by. */
export function asRun<T>(run: Run, call: () => T): T {
  return inRun({ taskId: run.id, rootId: run.id }, call);
}
