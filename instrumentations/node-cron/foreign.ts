/** What the majors of node-cron differ in, told from the task itself. Nothing here keeps state. */
import type { ChildProcess } from 'node:child_process';
import type { Method } from '../common.js';

/** One execution as 4.x tells it; dates are texts where a background task sent them. */
export interface Execution {
  readonly id: string;
  readonly reason: 'scheduled' | 'invoked';
  readonly startedAt?: Date | string;
  readonly finishedAt?: Date | string;
  readonly result?: unknown;
  readonly error?: unknown;
}

export interface Context {
  readonly date?: Date;
  readonly dateLocalIso?: string;
  readonly execution?: Execution;
  readonly reason?: string;
}

export interface TimeMatcher {
  readonly constructor: new (expression: string, timezone?: string) => TimeMatcher;
  getNextMatch?(from: Date): Date;
}

interface Runner {
  onMatch?: Method;
  execute?(id?: string): Promise<void>;
  start(): void;
  stop(): void;
  timeMatcher?: TimeMatcher;
  noOverlap?: boolean;
  maxExecutions?: number;
  /** 4.6: `stop()` drops a run that waits for its random delay. */
  jitterTimeout?: unknown;
}

/** The members of all versions; which exist tells the version. */
export interface Task {
  start(): unknown;
  stop(): unknown;
  destroy?(): unknown;
  on?(event: string, listener: (context: Context) => void): void;
  options?: { name?: string; noOverlap?: boolean; timezone?: string } | undefined;
  // 4.x
  readonly emitter?: object;
  readonly runner?: Runner;
  readonly stateMachine?: { readonly state: string };
  readonly taskPath?: string;
  cronExpression?: string;
  timezone?: string | undefined;
  timeMatcher?: TimeMatcher;
  forkProcess?: ChildProcess | undefined;
  emit?: Method;
  execute?(): Promise<unknown>;
  getStatus?(): string;
  getNextRun?(): Date | null;
  // 3.x
  readonly _task?: { _execution: Method };
  readonly _scheduler?: { timeout?: unknown; timeMatcher: TimeMatcher; start(): void; stop(): void };
  now?(): void;
  // 2.x
  tick?: unknown;
}

export type Generation = 2 | 3 | 4;

export function generation(task: Task): Generation {
  if (task.stateMachine !== undefined) return 4;
  return task._scheduler !== undefined || task.taskPath !== undefined ? 3 : 2;
}

export const isBackground = (task: Task): boolean => task.taskPath !== undefined;

export const isDestroyed = (task: Task): boolean => task.getStatus?.() === 'destroyed';

export function isEnabled(task: Task): boolean {
  switch (generation(task)) {
    case 4: {
      const status = task.getStatus?.();
      return status !== 'stopped' && status !== 'destroyed';
    }
    case 3:
      if (isBackground(task)) return task.forkProcess !== undefined && !task.forkProcess.killed;
      return task._scheduler?.timeout != null;
    case 2:
      return task.tick != null;
  }
}

/** Whether a run is prevented while another is under way. */
export const preventsOverlap = (task: Task): boolean => task.runner?.noOverlap ?? task.options?.noOverlap ?? false;

/** Whether a new expression can be put into the task that the host holds. */
export function canUpdate(task: Task): boolean {
  switch (generation(task)) {
    case 4:
      return isBackground(task) || (task.timeMatcher !== undefined && task.runner?.timeMatcher !== undefined);
    case 3:
      return task._scheduler?.timeMatcher !== undefined;
    case 2:
      return false;
  }
}

interface Plan {
  readonly expression: string;
  readonly timezone: string | undefined;
}

/** The library's own idea of a plan; throws where it has none, before anything was changed. */
export function matcherOf(task: Task, { expression, timezone }: Plan): TimeMatcher | undefined {
  const current = task._scheduler?.timeMatcher ?? task.timeMatcher;
  if (current === undefined) return undefined;
  const matcher = new current.constructor(expression, timezone);
  matcher.getNextMatch?.(new Date());
  return matcher;
}

/** Changes the plan in place, so that the host's reference still works. Call only where `canUpdate`. */
export async function update(task: Task, plan: Plan, matcher: TimeMatcher | undefined): Promise<void> {
  const enabled = isEnabled(task);
  const { _scheduler: scheduler, runner } = task;
  if (scheduler !== undefined && matcher !== undefined) {
    scheduler.timeMatcher = matcher;
    if (!enabled) return;
    scheduler.stop();
    scheduler.start();
    return;
  }
  if (matcher !== undefined) task.timeMatcher = matcher;
  task.cronExpression = plan.expression;
  if (runner !== undefined && matcher !== undefined) {
    runner.timeMatcher = matcher;
    task.timezone = plan.timezone;
    if (!enabled) return;
    runner.stop();
    runner.start();
    return;
  }
  // A background task sends its options to the child it starts; the host's own object is left as it is.
  const { timezone: _, ...rest } = task.options ?? {};
  task.options = plan.timezone === undefined ? rest : { ...rest, timezone: plan.timezone };
  if (!enabled) return;
  await task.stop();
  await task.start();
}
