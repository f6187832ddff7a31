import type { ForeignJob, ForeignQueueBase } from './foreign.js';
import { copyOf, makeOurs } from './registry.js';

/** A Queue as the operations use it; what some version lacks is optional. */
export interface OperableQueue extends ForeignQueueBase {
  add(name: string, data: unknown, options: object): Promise<ForeignJob>;
  drain(delayed?: boolean): Promise<void>;
  getFailed(start: number, end: number): Promise<ForeignJob[]>;
  getJob(id: string): Promise<ForeignJob | undefined>;
  getJobCounts(...types: string[]): Promise<{ [type: string]: number }>;
  getJobState?(id: string): Promise<string>;
  getRanges(types: string[], start?: number, end?: number): Promise<string[]>;
  remove(id: string): Promise<number>;
  setGlobalRateLimit?(max: number, duration: number): Promise<unknown>;
  removeGlobalRateLimit?(): Promise<unknown>;
}

interface Backend {
  forQueue?(name: string, prefix: string | undefined): Backend;
}

type QueueClass = new (name: string, options: object, backendFactory?: () => unknown) => OperableQueue;

const made = new WeakMap<ForeignQueueBase, Map<string, Promise<OperableQueue | undefined>>>();

/**
 * The host's own Queue, or for a Worker, or for another queue of the same broker, a Queue of ours on its connection: no
 * socket is opened, nothing has to be closed, and the queue's settings in the broker stay as they are. Undefined where
 * BullMQ's Queue was not loaded.
 */
export async function operable(object: ForeignQueueBase, name = object.name): Promise<OperableQueue | undefined> {
  if (name === object.name && 'getJobCounts' in object) return object as OperableQueue;
  let ours = made.get(object);
  if (ours === undefined) {
    ours = new Map();
    made.set(object, ours);
  }
  let queue = ours.get(name);
  if (queue === undefined) {
    queue = build(object, name);
    ours.set(name, queue);
    const forget = (): unknown => ours.delete(name);
    queue.then((built) => built ?? forget(), forget);
    forgetOldest(ours);
  }
  return queue;
}

/** Queues that are not live here, which only commands name. */
const MAX_MADE = 1000;

/** It leaves the connection as it is: that is not its own. */
function forgetOldest(ours: Map<string, Promise<OperableQueue | undefined>>): void {
  const [oldest] = ours;
  if (ours.size <= MAX_MADE || oldest === undefined) return;
  ours.delete(oldest[0]);
  oldest[1].then((queue) => (queue as { close?(): Promise<void> } | undefined)?.close?.()).catch(() => {});
}

async function build(object: ForeignQueueBase, name: string): Promise<OperableQueue | undefined> {
  const Queue = copyOf(object)?.Queue as QueueClass | undefined;
  if (Queue === undefined) return undefined;
  const prefix = object.opts?.prefix;
  const settings = { ...(prefix === undefined ? {} : { prefix }), skipMetasUpdate: true };
  const make = (connection: unknown, ...backendFactory: [] | [() => unknown]): OperableQueue => {
    const queue = makeOurs(() => new Queue(name, { ...settings, connection }, ...backendFactory));
    // At once: without a listener BullMQ prints the errors of the host's connection on our behalf.
    (queue as unknown as NodeJS.EventEmitter).on('error', () => {});
    return queue;
  };
  const backend = (object as { getBackend?(): Backend }).getBackend?.();
  if (backend !== undefined) {
    const own = name === object.name ? backend : backend.forQueue?.(name, prefix);
    return own === undefined ? undefined : make(object.opts?.connection, () => own);
  }
  const queue = make(await (object as { client?: Promise<unknown> }).client);
  await withoutSettings(queue);
  return queue;
}

/** Versions that do not know `skipMetasUpdate` write a queue's settings once it is ready, unless it is closing. */
async function withoutSettings(queue: OperableQueue): Promise<void> {
  const closable = queue as { closing?: unknown; waitUntilReady?(): Promise<unknown> };
  closable.closing = true;
  await closable.waitUntilReady?.();
  closable.closing = undefined;
}

interface ClientOwner {
  readonly client?: Promise<Socketed | undefined>;
  getBackend?(): { readonly client?: Promise<Socketed | undefined> };
}

/** What ioredis shows of its connection; node-redis sends what one turn asks in one piece by itself. */
interface Socketed {
  readonly stream?: { cork?(): void; uncork?(): void };
}

/**
 * Asks the broker for two things in one piece: it takes nobody else's in between. PostgreSQL, where each may go over a
 * connection of its own, is asked for one after the other.
 */
export async function inOnePiece<A, B>(
  queue: OperableQueue,
  first: () => Promise<A>,
  second: () => Promise<B>,
): Promise<[A, B]> {
  const owner = queue as ClientOwner;
  const client = await (owner.getBackend?.().client ?? owner.client);
  if (client === undefined) return [await first(), await second()];
  const { stream } = client;
  if (stream?.uncork !== undefined) {
    stream.cork?.();
    setImmediate(() => stream.uncork?.());
  }
  return Promise.all([first(), second()]);
}

/** Jobs that wait for a worker. */
export async function depthOf(queue: OperableQueue): Promise<number> {
  const counts = await queue.getJobCounts('waiting', 'paused', 'prioritized');
  return Object.values(counts).reduce((sum, count) => sum + (Number(count) || 0), 0);
}

export async function stateOf(queue: OperableQueue, id: string): Promise<string> {
  if (queue.getJobState !== undefined) return queue.getJobState(id);
  return (await (await queue.getJob(id))?.getState()) ?? 'unknown';
}
