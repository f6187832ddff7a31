import { performance } from 'node:perf_hooks';
import { hub, quietly } from '../../src/engine.js';
import { guard, traceIds, wrap } from '../common.js';
import type { ForeignJob, ForeignQueueBase, ForeignWorker } from './foreign.js';
import {
  type Ending,
  failed,
  hasCustomId,
  type PutBack,
  putBack,
  received,
  rejected,
  retried,
  revoked,
  started,
  succeeded,
  type Trace,
  taskId,
} from './map.js';
import { ignore, observe, watch } from './observe.js';
import { engineOf, type LiveWorker, placeOf, type Run, registry, seenLive, seenTask, seenWorker } from './registry.js';

const { runs } = registry;

const isWorker = (queue: ForeignQueueBase): queue is ForeignWorker => 'processJob' in queue;

/** The span a job runs in; not the one that happened to be active when the worker's loop was started. */
function traceOf(worker: ForeignWorker): Trace | undefined {
  const trace = traceIds();
  return trace?.span_id === registry.workers.get(worker)?.loopSpan ? undefined : trace;
}

function goOnline(worker: ForeignWorker, live: LiveWorker): void {
  live.online = true;
  engineOf(worker)?.workerOnline(placeOf(worker).queue);
}

function begin(worker: ForeignWorker, job: ForeignJob): Run {
  const live = seenWorker(worker);
  // It was made before we saw its class, or is driven by hand.
  if (!live.online) goOnline(worker, live);
  const run: Run = { job, worker: live };
  runs.set(job, run);
  live.active.add(run);
  const place = placeOf(worker);
  seenTask(place, job.name);
  const key = taskId(place.queue, job.id ?? '');
  stalling.get(key)?.(job);
  const told = registry.told.get(key);
  // A chosen id may come again with another job; BullMQ's own do not, but schedulers return them with another time.
  if (told === undefined || (told !== job.timestamp && hasCustomId(job))) {
    registry.told.set(key, job.timestamp);
    const root = job.opts.parent === undefined ? undefined : registry.roots.get(key);
    hub.record(received(place, job, { root }));
  }
  return run;
}

function end(run: Run | undefined, outcome: NonNullable<Run['outcome']>): void {
  if (run === undefined) return;
  run.outcome = outcome;
  run.worker?.active.delete(run);
}

const pickedUp = guard('BullMQ pick-ups', (worker: ForeignWorker, job: ForeignJob) => {
  begin(worker, job);
});

const processing = guard('BullMQ processors', (worker: ForeignWorker, job: ForeignJob) => {
  const run = runs.get(job);
  const trace = traceOf(worker);
  if (run !== undefined) {
    run.startedAt = performance.now();
    run.trace = trace;
  }
  hub.record(started(placeOf(worker), job, Date.now(), trace));
});

const fetchedByHand = guard('BullMQ getNextJob', (worker: ForeignWorker, job: ForeignJob | undefined) => {
  if (job === undefined || hub.recorder === undefined) return;
  begin(worker, job).startedAt = performance.now();
  hub.record(started(placeOf(worker), job, Date.now(), traceOf(worker)));
});

const settled = guard('BullMQ runs', (job: ForeignJob, worker: ForeignWorker) => {
  const run = runs.get(job);
  if (run === undefined || run.outcome !== undefined) return;
  run.worker?.active.delete(run);
  const refusal = run.refusal as { message?: unknown } | undefined;
  const reason = worker.closing
    ? 'the worker was closed while the job ran'
    : `its end was not accepted: ${refusal?.message ?? refusal ?? 'no end was reported'}`;
  hub.record(rejected(placeOf(worker), job, Date.now(), reason));
});

function ending(job: ForeignJob, run: Run | undefined, endedAt: number, at = Date.now()): Ending {
  const runtime =
    run?.startedAt !== undefined ? endedAt - run.startedAt : job.processedOn ? at - job.processedOn : undefined;
  return {
    at,
    runtimeMs: runtime === undefined ? undefined : Math.max(Math.round(runtime), 0),
    trace: run === undefined ? traceIds() : run.trace,
    here: isWorker(job.queue),
  };
}

const completed = guard('BullMQ completions', (job: ForeignJob, result: unknown, endedAt: number) => {
  const run = runs.get(job);
  if (run?.outcome !== undefined) return;
  end(run, 'succeeded');
  hub.record(succeeded(placeOf(job.queue), job, result, ending(job, run, endedAt, job.finishedOn)));
});

const attemptFailed = guard(
  'BullMQ failures',
  (job: ForeignJob, error: unknown, endedAt: number, finishedBefore: number | undefined) => {
    const run = runs.get(job);
    if (run?.outcome !== undefined) return;
    end(run, 'failed');
    const place = placeOf(job.queue);
    const isFinal = job.finishedOn !== undefined && job.finishedOn !== null && job.finishedOn !== finishedBefore;
    if (run?.revoked && isFinal) {
      hub.record(revoked(place, job.id ?? '', job, Date.now(), 'cancelled while it ran'));
    } else if (isFinal) {
      hub.record(failed(place, job, error, ending(job, run, endedAt, job.finishedOn)));
    } else {
      hub.record(retried(place, job, error, ending(job, run, endedAt)));
    }
  },
);

const wentBack = guard('BullMQ put-backs', (job: ForeignJob, reason: PutBack, until?: number) => {
  const run = runs.get(job);
  if (run?.outcome !== undefined) return;
  end(run, 'put back');
  hub.record(putBack(placeOf(job.queue), job, Date.now(), reason, until));
});

const refused = guard('BullMQ refusals', (job: ForeignJob, error: unknown) => {
  const run = runs.get(job);
  if (run !== undefined) run.refusal ??= error;
});

/** By task id: stalled jobs that are being read, told at once when they are picked up before that is done. */
const stalling = new Map<string, (job: ForeignJob | undefined) => void>();

const stalled = guard('BullMQ stalled jobs', (worker: ForeignWorker, id: string) => {
  if (hub.recorder === undefined) return;
  const place = placeOf(worker);
  const at = Date.now();
  const key = taskId(place.queue, id);
  const tell = guard('BullMQ stalled jobs', (job: ForeignJob | undefined) => {
    if (stalling.get(key) !== tell) return;
    stalling.delete(key);
    if (job !== undefined) hub.record(putBack(place, job, at, 'stalled'));
    else {
      const data = { queue: place.queue, reason: 'stalled' };
      hub.record({ kind: 'task.rejected', engine: place.engine, taskId: key, occurredAt: at, data });
    }
  });
  stalling.set(key, tell);
  // Only the id is known, and a row without arguments would hide those it has.
  const job = quietly(() => worker.Job?.fromId(worker, id)) ?? Promise.resolve(undefined);
  watch<ForeignJob | undefined>(job, tell, () => tell(undefined));
});

const stalledForGood = guard('BullMQ stalled jobs', (jobs: readonly (ForeignJob | undefined)[]) => {
  for (const job of jobs) {
    if (job === undefined) continue;
    const message = job.failedReason ?? 'job stalled more than allowable limit';
    const at = { at: job.finishedOn ?? Date.now(), runtimeMs: undefined, trace: undefined, here: false };
    hub.record(failed(placeOf(job.queue), job, { name: 'Error', message }, at));
  }
});

const workerRuns = guard('BullMQ workers', (worker: ForeignWorker) => {
  const live = seenWorker(worker);
  if (live.online || worker.processFn === undefined) return;
  live.loopSpan = traceIds()?.span_id;
  goOnline(worker, live);
});

const workerClosed = guard('BullMQ workers', (worker: ForeignWorker) => {
  const live = registry.workers.get(worker);
  if (live === undefined) return;
  registry.workers.delete(worker);
  if (live.online) engineOf(worker)?.workerOffline(placeOf(worker).queue, 'closed');
});

const live = guard('BullMQ instances', seenLive);

/**
 * Before 5.40.1 a worker that is paused may still get one job, which it then leaves active until it stalls. When it was
 * an operator who paused it, the job goes back: by way of a delay of nothing, for the direct way is open to rate limits
 * only.
 */
const giveBack = guard('BullMQ paused workers', (job: ForeignJob, token: unknown) => {
  const run: Run = { job, worker: undefined, outcome: 'put back' };
  runs.set(job, run);
  watch(job.moveToDelayed(Date.now(), token), ignore);
});

/** Lets an operator end the run while the processor goes on: what it still returns is of no account. */
function abandonable(job: ForeignJob, result: unknown): unknown {
  const run = runs.get(job);
  if (run === undefined || !(result instanceof Promise)) return result;
  run.work = result;
  return new Promise((resolve, reject) => {
    run.abandon = reject;
    result.then(resolve, reject);
  });
}

/** `UnrecoverableError` of whichever copy of BullMQ asks: it looks at the name. */
function unrecoverable(message: string): Error {
  const error = new Error(message);
  error.name = 'UnrecoverableError';
  return error;
}

export function patchQueueBase(QueueBase: { readonly prototype: object }): void {
  wrap(
    QueueBase.prototype,
    'waitUntilReady',
    (stands) =>
      function waitUntilReady(this: unknown, ...args) {
        live(this as ForeignQueueBase);
        return stands.apply(this, args);
      },
  );
}

export function patchWorker(Worker: { readonly prototype: object }): void {
  const { prototype } = Worker;
  const concurrency = Object.getOwnPropertyDescriptor(prototype, 'concurrency');
  if (concurrency?.set !== undefined) {
    const { set } = concurrency;
    Object.defineProperty(prototype, 'concurrency', {
      ...concurrency,
      set(value) {
        live(this as ForeignWorker);
        set.call(this, value);
      },
    });
  }
  wrap(
    prototype,
    'run',
    (stands) =>
      function run(this: unknown, ...args) {
        workerRuns(this as ForeignWorker);
        return stands.apply(this, args);
      },
  );
  wrap(
    prototype,
    'processJob',
    (stands) =>
      function processJob(this: unknown, ...args) {
        const worker = this as ForeignWorker;
        const job = args[0] as ForeignJob | undefined;
        // Before 5.40.1 the method returns at once in these states.
        const isLeft = (worker.closing || worker.paused) && !('mainLoop' in worker);
        if (isLeft && job && !worker.closing && registry.held.has(worker)) giveBack(job, args[1]);
        if (hub.recorder === undefined || !job || isLeft) return stands.apply(worker, args);
        pickedUp(worker, job);
        const result = stands.apply(worker, args);
        const done = (): void => settled(job, worker);
        watch(result, done, done);
        return result;
      },
  );
  wrap(
    prototype,
    'callProcessJob',
    (stands) =>
      function callProcessJob(this: unknown, ...args) {
        if (hub.recorder === undefined) return stands.apply(this, args);
        processing(this as ForeignWorker, args[0] as ForeignJob);
        return abandonable(args[0] as ForeignJob, stands.apply(this, args));
      },
  );
  wrap(
    prototype,
    'getNextJob',
    (stands) =>
      function getNextJob(this: unknown, ...args) {
        const worker = this as ForeignWorker;
        const result = stands.apply(worker, args);
        if (!worker.running) watch<ForeignJob | undefined>(result, (job) => fetchedByHand(worker, job));
        return result;
      },
  );
  observe<ForeignWorker>(prototype, 'moveLimitedBackToWait', (_, [limited]) => {
    const job = limited as ForeignJob;
    const run = runs.get(job);
    if (run !== undefined) run.limited = true;
    return () => wentBack(job, 'rate limited');
  });
  wrap(
    prototype,
    'emit',
    (stands) =>
      function emit(this: unknown, ...args) {
        if (args[0] === 'stalled') stalled(this as ForeignWorker, String(args[1]));
        else if (args[0] === 'closed') workerClosed(this as ForeignWorker);
        return stands.apply(this, args);
      },
  );
  wrap(
    prototype,
    'notifyFailedJobs',
    (stands) =>
      function notifyFailedJobs(this: unknown, ...args) {
        if (hub.recorder !== undefined) stalledForGood(args[0] as ForeignJob[]);
        return stands.apply(this, args);
      },
  );
}

/** The methods of `Job` by which runs end. */
export function patchJobConsumer(Job: { readonly prototype: object }): void {
  const { prototype } = Job;
  wrap(
    prototype,
    'moveToCompleted',
    (stands) =>
      function moveToCompleted(this: unknown, ...args) {
        const job = this as ForeignJob;
        const endedAt = performance.now();
        const result = stands.apply(job, args);
        if (hub.recorder !== undefined) {
          watch(
            result,
            () => completed(job, args[0], endedAt),
            (error) => refused(job, error),
          );
        }
        return result;
      },
  );
  wrap(
    prototype,
    'moveToFailed',
    (stands) =>
      function moveToFailed(this: unknown, ...args) {
        const job = this as ForeignJob;
        const endedAt = performance.now();
        const { finishedOn } = job;
        const error = args[0];
        if (runs.get(job)?.revoked) args[0] = unrecoverable((error as Error | undefined)?.message ?? 'cancelled');
        const result = stands.apply(job, args);
        if (hub.recorder !== undefined) {
          watch(
            result,
            () => attemptFailed(job, error, endedAt, finishedOn),
            (cause) => refused(job, cause),
          );
        }
        return result;
      },
  );
  observe<ForeignJob>(
    prototype,
    'moveToDelayed',
    (job, [until]) =>
      () =>
        wentBack(job, 'delayed', Number(until)),
  );
  observe<ForeignJob>(prototype, 'moveToWait', (job) => {
    const reason = runs.get(job)?.limited ? 'rate limited' : 'moved back to waiting';
    return () => wentBack(job, reason);
  });
  observe<ForeignJob>(prototype, 'moveToWaitingChildren', (job) => (moved) => {
    if (moved) wentBack(job, 'waiting for children');
  });
}
