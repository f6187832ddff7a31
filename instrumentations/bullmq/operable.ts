import type { ForeignJob, ForeignQueueBase } from './foreign.js';
import { copyOf, makeOurs } from './registry.js';

/** A Queue as the operations use it; what some version lacks is optional. */
export interface OperableQueue extends ForeignQueueBase {
  getJobCounts(...types: string[]): Promise<{ [type: string]: number }>;
  getJob(id: string): Promise<ForeignJob | undefined>;
  getJobState?(id: string): Promise<string>;
}

type QueueClass = new (name: string, options: object, backendFactory?: () => unknown) => OperableQueue;

const made = new WeakMap<ForeignQueueBase, OperableQueue>();

/**
 * The host's own Queue, or for a Worker a Queue of ours on the worker's connection: no socket is opened, nothing has
 * to be closed, and the queue's settings in the broker stay as they are. Undefined where BullMQ's Queue was not loaded.
 */
export async function operable(object: ForeignQueueBase): Promise<OperableQueue | undefined> {
  if ('getJobCounts' in object) return object as OperableQueue;
  let queue = made.get(object);
  if (queue !== undefined) return queue;
  const Queue = copyOf(object)?.Queue as QueueClass | undefined;
  if (Queue === undefined) return undefined;
  const { name } = object;
  const prefix = object.opts?.prefix;
  const settings = { ...(prefix === undefined ? {} : { prefix }), skipMetasUpdate: true };
  const backend = (object as { getBackend?(): unknown }).getBackend?.();
  if (backend !== undefined) {
    queue = makeOurs(() => new Queue(name, { ...settings, connection: object.opts?.connection }, () => backend));
  } else {
    const connection = await (object as { client?: Promise<unknown> }).client;
    queue = made.get(object) ?? makeOurs(() => new Queue(name, { ...settings, connection }));
    await withoutSettings(queue);
  }
  (queue as unknown as NodeJS.EventEmitter).on('error', () => {});
  made.set(object, queue);
  return queue;
}

/** Versions that do not know `skipMetasUpdate` write a queue's settings once it is ready, unless it is closing. */
async function withoutSettings(queue: OperableQueue): Promise<void> {
  const closable = queue as { closing?: unknown; waitUntilReady?(): Promise<unknown> };
  closable.closing = true;
  await closable.waitUntilReady?.();
  closable.closing = undefined;
}
