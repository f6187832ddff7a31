/** What an operator may do to a schedule, on every version that can do it. */
import {
  asHost,
  CommandError,
  type JsonObject,
  type ScheduleDefinition,
  type ScheduleOverride,
} from '../../src/engine.js';
import { exceptionText } from '../common.js';
import { problem } from './expressions.js';
import {
  canUpdate,
  isBackground,
  isDestroyed,
  isEnabled,
  matcherOf,
  preventsOverlap,
  type Task,
  type TimeMatcher,
  update,
} from './foreign.js';
import type { Outcome } from './map.js';
import { INVOKED } from './observe.js';
import { changed, dropWaiting, type Entry, type Run, registry } from './registry.js';

/** Changes during `act` were the operator's. Runs at once as far as `act` does. */
async function asOperator(act: () => Promise<void>): Promise<void> {
  registry.cause = 'operator';
  try {
    // Timers that start here run the host's functions.
    await asHost(act);
  } finally {
    registry.cause = 'code';
  }
}

async function settled(result: unknown, what: string): Promise<void> {
  if (!(result instanceof Promise)) return;
  try {
    await result;
  } catch (cause) {
    throw new CommandError('failed', `node-cron could not ${what}: ${exceptionText(cause)}`, { cause });
  }
}

async function setEnabled({ name, task }: Entry, enabled: boolean): Promise<void> {
  // A destroyed task that is started throws and leaves its timer running.
  if (isDestroyed(task)) throw new CommandError('conflict', `${name} was destroyed by its application`);
  if (isEnabled(task) === enabled && !isBackground(task)) return;
  const result = enabled ? task.start() : task.stop();
  if (result instanceof Promise) await settled(result, enabled ? `start ${name}` : `stop ${name}`);
}

function checkPlan({ copy }: Entry, expression: string, timezone: string | undefined): void {
  const wrong = problem(expression, copy.version);
  if (wrong !== undefined) throw new CommandError('invalid', wrong);
  if (copy.validate?.(expression) === false) {
    throw new CommandError('invalid', `node-cron ${copy.version} refuses the expression ${expression}`);
  }
  try {
    if (timezone !== undefined) Intl.DateTimeFormat('en', { timeZone: timezone });
  } catch (cause) {
    throw new CommandError('invalid', `Expected \`timezone\` to be an IANA name, got ${timezone}`, { cause });
  }
}

async function reschedule(entry: Entry, expression: string, timezone: string | undefined): Promise<void> {
  if (expression === entry.expression && timezone === entry.timezone) return;
  checkPlan(entry, expression, timezone);
  if (!canUpdate(entry.task)) {
    throw new CommandError('unsupported', `node-cron ${entry.copy.version} cannot change the plan of a schedule`);
  }
  const plan = { expression, timezone };
  let matcher: TimeMatcher | undefined;
  try {
    matcher = matcherOf(entry.task, plan);
  } catch (cause) {
    const why = `node-cron ${entry.copy.version} cannot tell when ${expression} comes next: ${exceptionText(cause)}`;
    throw new CommandError('failed', why, { cause });
  }
  const done = update(entry.task, plan, matcher);
  entry.expression = expression;
  entry.timezone = timezone;
  dropWaiting(entry, 'its schedule was changed while it waited for its random delay');
  changed('updated', entry);
  await settled(done, `start ${entry.name} with its new plan`);
}

async function destroy(entry: Entry): Promise<void> {
  const { name, task, copy } = entry;
  if (entry.generation === 3) {
    task.stop();
    const { scheduledTasks } = globalThis as { scheduledTasks?: Map<string, Task> };
    for (const [key, held] of scheduledTasks ?? []) if (held === task) scheduledTasks?.delete(key);
    registry.entries.delete(name);
    changed('deleted', entry);
    return;
  }
  await settled(task.destroy?.(), `destroy ${name}`);
  if (registry.entries.get(name) === entry) {
    throw new CommandError(
      'failed',
      `node-cron ${copy.version} does not destroy a background task that is stopped; it stays disabled`,
    );
  }
}

/** In force when this returns where the library does it at once (all but background tasks). */
export function applyOverride(entry: Entry, override: ScheduleOverride): Promise<void> {
  const { deleted, enabled, expression, timezone, args, kwargs } = override;
  return asOperator(async () => {
    if ((args?.length ?? 0) > 0 || Object.keys(kwargs ?? {}).length > 0) {
      throw new CommandError('unsupported', 'functions of node-cron take no arguments');
    }
    if (deleted) return destroy(entry);
    const steps: Promise<void>[] = [];
    if (enabled === false) steps.push(setEnabled(entry, false));
    if (expression !== undefined || timezone !== undefined) {
      steps.push(reschedule(entry, expression ?? entry.expression, timezone ?? entry.timezone));
    }
    if (enabled === true) steps.push(setEnabled(entry, true));
    await Promise.all(steps);
  });
}

export const updateSchedule = (entry: Entry, definition: ScheduleDefinition): Promise<void> => {
  const { name, taskName, kind, queue } = definition;
  if (name !== undefined && name !== entry.name) {
    throw new CommandError('unsupported', 'a schedule of node-cron cannot be renamed');
  }
  if (taskName !== undefined && taskName !== entry.taskName) {
    throw new CommandError('unsupported', 'a schedule of node-cron keeps its function');
  }
  if (kind !== undefined && kind !== 'cron') throw new CommandError('unsupported', 'node-cron knows cron plans only');
  if (queue) throw new CommandError('unsupported', 'node-cron has no queues');
  return applyOverride(entry, definition);
};

export const deleteSchedule = (entry: Entry): Promise<void> => applyOverride(entry, { deleted: true });

/** A further schedule for a function that a schedule of this process has. Gone when the process ends. */
export async function createSchedule(definition: ScheduleDefinition): Promise<string> {
  const { name, taskName, expression, timezone, kind = 'cron', enabled = true } = definition;
  const known = [...registry.entries.values()].find((entry) => entry.taskName === taskName);
  if (known === undefined) {
    const names = [...new Set([...registry.entries.values()].map((entry) => entry.taskName))];
    throw new CommandError('not_found', `no schedule here has the function ${taskName}; known: ${names.join(', ')}`);
  }
  if (name === undefined || name === '') throw new CommandError('invalid', 'a schedule needs a name');
  if (registry.entries.has(name)) throw new CommandError('conflict', `there is a schedule ${name} already`);
  if (kind !== 'cron' || expression === undefined) {
    throw new CommandError('invalid', 'node-cron needs a cron expression');
  }
  const { args, kwargs, queue } = definition;
  if (queue) throw new CommandError('unsupported', 'node-cron has no queues');
  checkPlan(known, expression, timezone);
  registry.creating = known.taskName;
  try {
    const options = { name, ...(timezone === undefined ? {} : { timezone }) };
    asHost(() => known.copy.schedule(expression, known.handler, options));
  } catch (cause) {
    throw new CommandError('failed', `node-cron refused the schedule: ${exceptionText(cause)}`, { cause });
  } finally {
    registry.creating = undefined;
  }
  const made = registry.entries.get(name);
  if (made === undefined) throw new CommandError('failed', 'node-cron made no schedule');
  await applyOverride(made, { ...(args && { args }), ...(kwargs && { kwargs }), ...(enabled ? {} : { enabled }) });
  return name;
}

/** How long an answer waits for a run to end before it says that it has started. */
const PATIENCE = 5000;

/** Asks the library for a run; its promise is not of use: before 4.6 it may settle with another run. */
function ask(entry: Entry, fail: (cause: unknown) => void): void {
  const { task, generation } = entry;
  if (generation === 2) {
    const result = entry.call?.(INVOKED);
    if (result instanceof Promise) result.catch(() => {});
  } else if (generation === 3) {
    task.now?.();
  } else if (task.runner?.execute !== undefined) {
    // Not `task.execute()`: up to 4.2 it leaves a listener behind for every run that fails.
    task.runner.execute().catch(fail);
  } else {
    task.execute?.().catch(fail);
  }
}

/** Starts one run outside of the plan, also of a schedule that is disabled. Resolves when it ended, or soon. */
export async function trigger(entry: Entry): Promise<JsonObject> {
  const { name, task, generation, copy } = entry;
  if (preventsOverlap(task) && entry.runs.size > 0) {
    throw new CommandError('conflict', `${name} is running and does not allow runs side by side; try again later`);
  }
  if (generation === 3 && isBackground(task)) {
    throw new CommandError('unsupported', `node-cron ${copy.version} cannot run a background task outside of its plan`);
  }
  if (generation === 4 && isBackground(task) && task.forkProcess === undefined) {
    throw new CommandError('conflict', `${name} runs in a process of its own, which is stopped; enable it first`);
  }
  let started: Run | undefined;
  const outcome = await new Promise<Outcome | undefined>((resolve, reject) => {
    const timer = setTimeout(resolve, PATIENCE, undefined);
    timer.unref();
    const onRun = (run: Run): void => {
      started = run;
      run.onEnd = (ended) => {
        clearTimeout(timer);
        resolve(ended);
      };
    };
    entry.invokers.push(onRun);
    const fail = (cause: unknown): void => {
      const index = entry.invokers.indexOf(onRun);
      if (index !== -1) entry.invokers.splice(index, 1);
      if (started !== undefined) return;
      clearTimeout(timer);
      reject(new CommandError('failed', `${name} could not be run: ${exceptionText(cause)}`, { cause }));
    };
    try {
      asHost(() => ask(entry, fail));
    } catch (cause) {
      fail(cause);
    }
  });
  if (started === undefined) {
    throw new CommandError('indeterminate', `${name} was asked to run and has not begun after ${PATIENCE / 1000} s`);
  }
  const result = { task_id: started.id, engine: 'node-cron', schedule: name };
  if (outcome?.kind === 'failure') {
    throw new CommandError('failed', `${name} ran and failed: ${exceptionText(outcome.error)}`, {
      cause: outcome.error,
      result,
    });
  }
  return { ...result, state: outcome === undefined ? 'started' : outcome.kind };
}
