/** Watches one task: its runs, and what the host does to it. */
import { AsyncResource } from 'node:async_hooks';
import { isSupported } from '../../src/engine.js';
import { disguise, guard, type Method, wrap } from '../common.js';
import { type Context, type Execution, isBackground, isEnabled, preventsOverlap, type Task } from './foreign.js';
import type { Outcome } from './map.js';
import {
  asRun,
  changed,
  closeRun,
  dropWaiting,
  type Entry,
  enterRun,
  lostSlot,
  openRun,
  type Run,
  registry,
} from './registry.js';

/**
 * The context in which this file was loaded: none. A timer keeps the one in which `schedule()` was called, so that a
 * schedule made while a request was served would run in that request's context for ever.
 */
const root = new AsyncResource('z4j.node-cron');

const inRoot = <T>(run: Run, call: () => T): T => root.runInAsyncScope(asRun<T>, undefined, run, call);

const milliseconds = (at: Date | string | undefined): number =>
  at === undefined ? Date.now() : at instanceof Date ? at.getTime() : new Date(at).getTime();

const opening = guard('a run of node-cron', openRun);
const entering = guard('a run of node-cron', (run: Run, execution: Execution | undefined) =>
  enterRun(run, milliseconds(execution?.startedAt)),
);
const closing = guard('a run of node-cron', closeRun);

const reasonOf = (argument: unknown): 'scheduled' | 'invoked' | 'init' =>
  argument === 'manual' ? 'invoked' : argument === 'init' ? 'init' : 'scheduled';

/** 2.x and 3.x tell nothing of a run: the host's function is the only place to see it. */
export function watched(entry: Entry, handler: Method, inside: <T>(call: () => T) => T): Method {
  const run = (reason: 'scheduled' | 'invoked' | 'init', self: unknown, args: unknown[]): unknown => {
    const slot = reason === 'scheduled' ? new Date(Math.floor(Date.now() / 1000) * 1000).toISOString() : undefined;
    const open = opening(entry, { reason, scheduledFor: slot });
    if (open === undefined) return Reflect.apply(handler, self, args);
    entering(open, undefined);
    let result: unknown;
    try {
      result = inRoot(open, () => inside(() => Reflect.apply(handler, self, args)));
    } catch (error) {
      closing(open, { kind: 'failure', error });
      throw error;
    }
    // Only what the library itself waits for: asking another thenable for its value may be what starts it.
    if (result instanceof Promise) {
      result.then(
        (value) => closing(open, { kind: 'success', result: value }),
        (error) => closing(open, { kind: 'failure', error }),
      );
    } else {
      closing(open, { kind: 'success', result });
    }
    return result;
  };
  const wrapper = function (this: unknown, ...args: unknown[]): unknown {
    return run(args[0] === INVOKED ? 'invoked' : reasonOf(args[0]), this, args[0] === INVOKED ? [] : args);
  };
  return disguise(wrapper, handler);
}

/** Stands for the argument of 2.x's callback, which has none, when an operator asks for the run. */
export const INVOKED = Symbol('invoked');

function onStarted(entry: Entry, { execution, dateLocalIso }: Context, entered: boolean): void {
  if (execution === undefined || entry.runs.has(execution.id)) return;
  const { id, reason, startedAt } = execution;
  const run = openRun(entry, { id, reason, scheduledFor: reason === 'scheduled' ? dateLocalIso : undefined });
  if (entered) enterRun(run, milliseconds(startedAt));
}

function onEnd(entry: Entry, execution: Execution | undefined, outcome: Outcome): void {
  const run = entry.runs.get(execution?.id ?? '');
  if (run !== undefined) closeRun(run, outcome, milliseconds(execution?.finishedAt));
}

function onOverlap(entry: Entry, context: Context): void {
  if (!preventsOverlap(entry.task)) {
    entry.overlap = true;
    return;
  }
  const stuck = entry.runs.size === 0;
  const reason = stuck
    ? 'overlap: node-cron 4.0 takes a failed run for one that still runs and blocks the schedule; upgrade to 4.1 or later'
    : 'overlap: the run before is still going and noOverlap is set';
  lostSlot(entry, milliseconds(context.date), { kind: 'skipped', reason });
}

/** All slots that one blocked turn of the event loop missed are told as one. */
function onMissed(entry: Entry, context: Context): void {
  const slot = milliseconds(context.date);
  if (entry.missed !== undefined) {
    entry.missed.last = slot;
    entry.missed.count += 1;
    return;
  }
  const missed = { first: slot, last: slot, count: 1 };
  entry.missed = missed;
  setImmediate(
    guard('a missed run of node-cron', () => {
      entry.missed = undefined;
      // Before 4.3 the library tells the slot that follows the missed one.
      const next = isSupported(entry.copy.version, { from: '4.0.0', below: '4.3.0' });
      const runs = missed.count === 1 ? 'a run' : `${missed.count} runs`;
      lostSlot(entry, missed.first, {
        kind: 'missed',
        reason: `missed ${runs}: the process was blocked or asleep`,
        more: {
          missed: missed.count,
          missed_until: new Date(missed.last).toISOString(),
          following_slot: next || undefined,
        },
      });
    }),
  ).unref();
}

function onStopped(entry: Entry): void {
  dropWaiting(entry, 'stopped while it waited for its random delay');
  changed('disabled', entry);
}

/** Up to 4.5 nobody tells that the child of a background task is gone. */
function onForked(entry: Entry): void {
  entry.task.forkProcess?.once(
    'exit',
    guard('a background task of node-cron', (code: number | null, signal: string | null) => {
      for (const run of [...entry.runs.values()]) {
        const error = new Error(`the process of the background task ended (code ${code}, signal ${signal})`);
        delete error.stack;
        closeRun(run, { kind: 'failure', error });
      }
    }),
  );
}

function forget(entry: Entry): void {
  if (entry.frozen !== undefined) return;
  registry.entries.delete(entry.name);
  changed('deleted', entry);
}

const TOLD: { readonly [event: string]: (entry: Entry, context: Context, entered: boolean) => void } = {
  'task:started'(entry) {
    if (isBackground(entry.task)) onForked(entry);
    changed('enabled', entry);
  },
  'task:stopped': onStopped,
  'task:failed'(entry) {
    changed('disabled', entry);
  },
  'task:destroyed': forget,
  'execution:maxReached'(entry) {
    entry.maxReached = true;
  },
  'execution:started': onStarted,
  'execution:finished'(entry, { execution }) {
    onEnd(entry, execution, { kind: 'success', result: execution?.result });
  },
  // The event decides, not the error: a callback may `throw undefined`.
  'execution:failed'(entry, { execution }) {
    onEnd(entry, execution, { kind: 'failure', error: execution?.error });
  },
  'execution:overlap': onOverlap,
  'execution:missed': onMissed,
  'execution:skipped'(entry, { date, reason }) {
    if (reason !== 'coordinator-error') entry.skipped += 1;
    else lostSlot(entry, milliseconds(date), { kind: 'skipped', reason: 'the run coordinator failed' });
  },
};

/** Two states of a 2.x or 3.x task around a call. */
function watchState(entry: Entry, task: Task, name: 'start' | 'stop' | 'destroy'): void {
  const after = guard('a schedule of node-cron', (before: boolean) => {
    if (name === 'destroy') forget(entry);
    else if (isEnabled(task) !== before) changed(before ? 'disabled' : 'enabled', entry);
  });
  wrap(
    task,
    name,
    (stands) =>
      function (this: unknown, ...args) {
        const before = isEnabled(task);
        const result = Reflect.apply(stands, this, args);
        after(before);
        return result;
      },
  );
}

function observeOld(entry: Entry, task: Task): void {
  watchState(entry, task, 'start');
  watchState(entry, task, 'stop');
  watchState(entry, task, 'destroy');
  if (!isBackground(task)) return;
  // The child of a 3.x background task says that it is done, not how it went.
  const done = guard('a background task of node-cron', () => {
    closeRun(openRun(entry, { reason: 'scheduled' }), {
      kind: 'dropped',
      reason: 'ran in the background: node-cron 3 does not tell how it went',
    });
  });
  wrap(
    task,
    'emit',
    (stands) =>
      function (this: unknown, ...args) {
        if (args[0] === 'task-done') done();
        return Reflect.apply(stands, this, args);
      },
  );
}

/** Sees what the task tells before its listeners do, without being one: a listener of ours would silence warnings. */
export function observe(entry: Entry, task: Task): void {
  if (entry.generation !== 4) {
    observeOld(entry, task);
    return;
  }
  const { runner, emitter } = task;
  const entered =
    runner === undefined ||
    !wrap(
      runner,
      'onMatch',
      (stands) =>
        function (this: unknown, ...args) {
          const execution = args[1] as Execution | undefined;
          const run = entry.runs.get(execution?.id ?? '');
          if (run === undefined) return Reflect.apply(stands, this, args);
          entering(run, execution);
          return inRoot(run, () => Reflect.apply(stands, this, args));
        },
    );
  const tell = guard('a schedule of node-cron', (event: string, context: Context = {}) =>
    TOLD[event]?.(entry, context, entered),
  );
  const tap = (stands: Method): Method =>
    function (this: unknown, ...args) {
      tell(args[0] as string, args[1] as Context | undefined);
      return Reflect.apply(stands, this, args);
    };
  if (wrap(task, 'emit', tap) || (emitter !== undefined && wrap(emitter, 'emit', tap))) return;
  for (const event of Object.keys(TOLD)) {
    if (event !== 'execution:missed') task.on?.(event, (context) => tell(event, context));
  }
}
