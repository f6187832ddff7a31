import { asHost, CommandError, type JsonObject, type JsonValue } from '../../src/engine.js';
import type { ForeignWorker } from './foreign.js';
import type { Subject } from './locate.js';
import { type LiveWorker, liveOf, placeOf, registry } from './registry.js';

interface Limit {
  readonly max: number;
  /** Milliseconds. */
  readonly duration: number;
}

/** A worker as the operations use it. */
interface OperableWorker extends ForeignWorker {
  opts: { limiter?: Limit | undefined; concurrency?: number; [option: string]: unknown };
  /** Absent where a wait for the end of a limit cannot be ended. */
  abortDelayController?: AbortController | null;
  delay?(ms?: number): Promise<void>;
  backendFactory?: unknown;
  close(force?: boolean): Promise<void>;
  pause(doNotWait?: boolean): Promise<void>;
  resume(): unknown;
  eventNames(): (string | symbol)[];
  rawListeners(event: string | symbol): ((...args: unknown[]) => void)[];
  on(event: string | symbol, listener: (...args: unknown[]) => void): unknown;
  mainLoopQueue?: Fifo | null;
  asyncFifoQueue?: Fifo;
}

interface Fifo {
  add(promise: Promise<unknown>): void;
}

const operable = ({ worker }: LiveWorker): OperableWorker => worker as OperableWorker;

export function workersNamed(subject: Subject, parameters: JsonObject): readonly LiveWorker[] {
  const name = parameters.worker_name;
  const found = liveOf(subject.name).workers.filter(
    ({ worker }) => !worker.closing && subject.workerName(placeOf(worker).queue) === name,
  );
  if (found.length > 0) return found;
  throw new CommandError('not_found', `worker ${JSON.stringify(name)} is not in this process`);
}

const concurrencyOf = (worker: OperableWorker): number => worker.concurrency ?? worker.opts.concurrency ?? 1;

function totalOf(workers: readonly LiveWorker[]): number {
  return workers.reduce((sum, live) => sum + concurrencyOf(operable(live)), 0);
}

/** The loop looks at its limit only when something of it settles: this is something. */
function kick(worker: OperableWorker): void {
  const fifo = worker.mainLoopQueue ?? worker.asyncFifoQueue ?? (registry.fifos.get(worker) as Fifo | undefined);
  fifo?.add(Promise.resolve());
}

export function grow(workers: readonly LiveWorker[], delta: number): JsonValue {
  const before = totalOf(workers);
  const worker = operable(workers[0] as LiveWorker);
  worker.concurrency = concurrencyOf(worker) + delta;
  kick(worker);
  return { concurrency: totalOf(workers), before };
}

/** Running jobs end as they would; a worker keeps one slot at least. */
export function shrink(workers: readonly LiveWorker[], delta: number): JsonValue {
  const before = totalOf(workers);
  if (before - delta < workers.length) {
    const why = `${before} - ${delta} leaves less than one slot for each of ${workers.length} workers`;
    throw new CommandError('refused', `${why}; cancel_consumer stops a worker`);
  }
  let left = delta;
  for (const live of workers) {
    const worker = operable(live);
    const slots = concurrencyOf(worker);
    const taken = Math.min(slots - 1, left);
    if (taken > 0) worker.concurrency = slots - taken;
    left -= taken;
  }
  return { concurrency: totalOf(workers), before };
}

/** Limits that the application set itself, of workers that an operator limited. */
const ownLimits = new WeakMap<OperableWorker, Limit | undefined>();

/** Waits for the end of a limit that would not end, even for a worker that closes. */
const waits = new WeakMap<OperableWorker, () => void>();

const LOOK_MS = 500;

/** On BullMQ 3 a worker that waits for the end of a limit of an hour would do so for an hour whatever happens. */
function makeWaitsEnd(worker: OperableWorker): void {
  if (worker.abortDelayController !== undefined || worker.delay === undefined || waits.has(worker)) return;
  let end = (): void => {};
  waits.set(worker, () => end());
  worker.delay = (ms = 100) =>
    new Promise((resolve) => {
      end = () => {
        clearTimeout(timer);
        clearInterval(look);
        resolve();
      };
      const timer = setTimeout(end, ms);
      const look = setInterval(() => worker.closing && end(), LOOK_MS).unref();
    });
}

/** Without a limit the application's own is in force again. */
export function limitWorkers(workers: readonly LiveWorker[], limit: Limit | undefined): void {
  for (const worker of workers.map(operable)) {
    makeWaitsEnd(worker);
    if (!ownLimits.has(worker)) ownLimits.set(worker, worker.opts.limiter);
    worker.opts.limiter = limit ?? ownLimits.get(worker);
  }
}

/** A worker that waits for the end of a limit asks again now; others look up within half a minute. */
export function wake(workers: readonly LiveWorker[]): void {
  for (const worker of workers.map(operable)) {
    worker.abortDelayController?.abort();
    waits.get(worker)?.();
  }
}

/** A BullMQ worker serves one queue: its processor is for that one. */
function checkQueue([first]: readonly LiveWorker[], { queue }: JsonObject): string {
  const own = placeOf((first as LiveWorker).worker).queue;
  if (queue === undefined || queue === null || queue === own) return own;
  throw new CommandError(
    'refused',
    `this worker serves ${own} only: its processor is not for ${JSON.stringify(queue)}`,
  );
}

/** Not awaited: it stops fetching at once, and the promise waits for the jobs that run. */
export function cancelConsumer(workers: readonly LiveWorker[], parameters: JsonObject): JsonValue {
  const queue = checkQueue(workers, parameters);
  let running = 0;
  for (const live of workers) {
    running += live.active.size;
    registry.held.add(live.worker);
    asHost(() => operable(live).pause()).catch(() => {});
  }
  return { queue, paused: workers.length, running };
}

export async function resume(workers: readonly LiveWorker[], parameters: JsonObject): Promise<JsonValue> {
  const queue = checkQueue(workers, parameters);
  const paused = workers.map(operable).filter((worker) => worker.isPaused());
  for (const worker of paused) {
    registry.held.delete(worker);
    await asHost(() => worker.resume());
  }
  return paused.length > 0 ? { queue, resumed: paused.length } : { queue, noop: true, reason: 'it was not paused' };
}

/**
 * Closes a worker when its jobs have ended and puts an equal one in its place. The application goes on with the object
 * it has: its listeners move along, and closing, pausing or resuming it reaches the new one. What the new one does is the
 * host's, in its traces too.
 */
async function renew(worker: OperableWorker): Promise<void> {
  const { name, opts, processFn, backendFactory } = worker;
  if (processFn === undefined)
    throw new CommandError('refused', 'a worker without a processor is driven by the application');
  await worker.close();
  const Class = worker.constructor as new (...args: unknown[]) => OperableWorker;
  const next = new Class(
    name,
    processFn,
    { ...opts, autorun: true },
    ...(backendFactory === undefined ? [] : [backendFactory]),
  );
  if (ownLimits.has(worker)) {
    ownLimits.set(next, ownLimits.get(worker));
    makeWaitsEnd(next);
  }
  for (const event of worker.eventNames()) {
    for (const listener of worker.rawListeners(event)) next.on(event, listener);
  }
  if (next.rawListeners('error').length === 0) next.on('error', () => {});
  Object.assign(worker, {
    close: (force?: boolean) => next.close(force),
    pause: (doNotWait?: boolean) => next.pause(doNotWait),
    resume: () => next.resume(),
    isPaused: () => next.isPaused(),
    isRunning: () => next.isRunning(),
  });
}

export async function restart(workers: readonly LiveWorker[]): Promise<JsonValue> {
  const running = workers.reduce((sum, { active }) => sum + active.size, 0);
  await Promise.all(workers.map((live) => asHost(() => renew(operable(live)))));
  return { restarted: workers.length, waited_for: running };
}
