import { CommandError } from '../../src/engine.js';
import type { ForeignJob, ForeignQueueBase } from './foreign.js';
import { jobIdOf } from './map.js';
import { type OperableQueue, operable } from './operable.js';
import { liveOf, placeOf } from './registry.js';

/** Whom a command is carried out for. */
export interface Subject {
  /** Name of the engine. */
  readonly name: string;
  workerName(queue: string): string | undefined;
}

export interface Located {
  readonly queue: OperableQueue;
  /** Its name in the brain. */
  readonly label: string;
}

/** One object per queue of the engine: Queues before Workers. */
export function objectsOf({ name }: Subject): Map<string, ForeignQueueBase> {
  const { queues, workers } = liveOf(name);
  const objects = new Map<string, ForeignQueueBase>();
  for (const { worker } of workers) if (!worker.closing) objects.set(placeOf(worker).queue, worker);
  for (const queue of queues) objects.set(placeOf(queue).queue, queue);
  return objects;
}

async function open(object: ForeignQueueBase, name?: string): Promise<OperableQueue> {
  const queue = await operable(object, name);
  if (queue !== undefined) return queue;
  throw new CommandError('unsupported', "BullMQ's Queue is not loaded in this process: import it beside Worker");
}

export async function queueNamed(subject: Subject, label: string): Promise<Located> {
  const objects = objectsOf(subject);
  const object = objects.get(label);
  if (object !== undefined) return { queue: await open(object), label };
  const known = [...objects.keys()].join(', ') || 'none';
  throw new CommandError('not_found', `${subject.name} has no queue ${label} in this process (it has: ${known})`);
}

/** The queue and job id of a task; a queue that is not live here is reached through the connection of one that is. */
export async function locate(subject: Subject, id: string): Promise<Located & { readonly id: string }> {
  const objects = objectsOf(subject);
  for (const label of [...objects.keys()].sort((a, b) => b.length - a.length)) {
    const jobId = jobIdOf(id, label);
    if (jobId !== undefined) return { ...(await queueNamed(subject, label)), id: jobId };
  }
  const label = id.slice(0, id.indexOf(':'));
  const jobId = label === '' ? undefined : jobIdOf(id, label);
  const [object] = objects.values();
  if (jobId === undefined || object === undefined) {
    throw new CommandError('not_found', `${id} is not a task of ${subject.name} here: expected queue:id`);
  }
  return { queue: await open(object, label), label, id: jobId };
}

export async function jobOf(subject: Subject, id: string): Promise<Located & { readonly job: ForeignJob }> {
  const located = await locate(subject, id);
  const job = await located.queue.getJob(located.id);
  if (job) return { ...located, job };
  throw new CommandError('not_found', `the broker has no job ${located.id} in queue ${located.label}`);
}
