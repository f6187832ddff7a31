import { hub, quietly } from '../../src/engine.js';
import { guard, traceIds, wrap } from '../common.js';
import type { FlowNode, ForeignJob, ForeignQueueBase } from './foreign.js';
import { deduplicationId, hasCustomId, type Lineage, received, revoked, sent, taskId } from './map.js';
import { observe, watch } from './observe.js';
import { announce, engineOf, type LivePlace, placeOf, registry, seenTask } from './registry.js';

/** Jobs whose addition was told: a scheduler's method may return what `Job.create` made. */
const announced = new WeakSet<ForeignJob>();

const MAX_CHECKS = 64;
let checks = 0;

/**
 * With a deduplication id the broker may have kept another job in place of this one, and does not say so. Such a row
 * must not be shown: one read tells. Under a flood of them the row appears when the job is picked up.
 */
function showUnlessDuplicate(place: LivePlace, job: ForeignJob, lineage: Lineage): void {
  const { id, queue } = job;
  const { fromId } = job.constructor as { fromId?: (queue: ForeignQueueBase, id: string) => Promise<unknown> };
  if (id === undefined || typeof fromId !== 'function' || checks >= MAX_CHECKS) return;
  checks += 1;
  const trace = traceIds();
  const done = guard('a deduplicated job', (stored: ForeignJob | undefined) => {
    checks -= 1;
    if (stored?.timestamp !== job.timestamp || registry.told.get(taskId(place.queue, id)) !== undefined) return;
    hub.record(received(place, stored, { ...lineage, trace }));
    registry.told.set(taskId(place.queue, id), stored.timestamp);
  });
  watch<ForeignJob | undefined>(
    quietly(() => fromId.call(job.constructor, queue, id)),
    done,
    () => done(undefined),
  );
}

function added(job: ForeignJob, lineage: Lineage, connection?: unknown): void {
  if (hub.recorder === undefined || job.id === undefined || job.id === null) return;
  const place = placeOf(job.queue, connection);
  seenTask(place, job.name);
  const custom = hasCustomId(job);
  const deduplicated = deduplicationId(job.opts) !== undefined;
  const addition = { ...lineage, trace: traceIds(), maybeDuplicate: custom || deduplicated };
  hub.record(sent(place, job, addition));
  if (deduplicated) {
    showUnlessDuplicate(place, job, lineage);
    return;
  }
  const key = taskId(place.queue, job.id);
  // Known: picked up before the host's add resolved, or a custom id met again; its row is there.
  if (registry.told.get(key) !== undefined) return;
  registry.told.set(key, job.timestamp);
  hub.record(received(place, job, addition));
}

function walk(node: FlowNode, connection: unknown, parent?: string, root?: string): void {
  added(node.job, { parent, root }, connection);
  if (node.children === undefined) return;
  const id = taskId(placeOf(node.job.queue, connection).queue, node.job.id ?? '');
  const hasUnknownRoot = parent === undefined && node.job.opts.parent !== undefined;
  for (const child of node.children) walk(child, connection, id, hasUnknownRoot ? undefined : (root ?? id));
}

const created = guard('BullMQ Job.create', (job: ForeignJob) => {
  if (announced.has(job)) return;
  announced.add(job);
  added(job, {});
});

const createdBulk = guard('BullMQ Job.createBulk', (jobs: readonly ForeignJob[]) => {
  for (const job of jobs) added(job, {});
});

const flowAdded = guard('BullMQ flows', (trees: FlowNode | readonly FlowNode[] | undefined, connection: unknown) => {
  if (trees === undefined) return;
  for (const tree of Array.isArray(trees) ? trees : [trees]) walk(tree, connection);
});

/** A worker may pick a child up before the host's add resolves, and a child shows its parent only. */
function noteRoots(node: FlowNode, connection: unknown, root?: string): void {
  const id = taskId(placeOf(node.job.queue, connection).queue, node.job.id ?? '');
  if (root !== undefined) registry.roots.set(id, root);
  for (const child of node.children ?? []) noteRoots(child, connection, root ?? id);
}

const flowMade = guard('BullMQ flow nodes', (tree: FlowNode, connection: unknown, hasUnknownRoot: boolean) => {
  if (!hasUnknownRoot) noteRoots(tree, connection);
  placeOf(tree.job.queue, connection);
  // A process may add flows and have no queue or worker of its own.
  announce(tree.job.queue);
});

/** From 5.25.6 to 5.54.0 the id of the returned job is another reply of the broker, a number at times. */
function withRightId(job: ForeignJob): ForeignJob {
  const { jobId } = job.opts;
  if (jobId === undefined || String(job.id).startsWith('repeat:')) return job;
  return Object.create(job, { id: { value: jobId } }) as ForeignJob;
}

const iterationAdded = guard('BullMQ job schedulers', (job: ForeignJob | undefined) => {
  if (job === undefined || announced.has(job)) return;
  announced.add(job);
  added(withRightId(job), {});
});

const scheduleChanged = guard('BullMQ schedules', (queue: ForeignQueueBase) => engineOf(queue)?.scheduleChanged());

const FINISHED = new Set(['completed', 'failed', 'unknown']);

const removed = guard(
  'BullMQ removals',
  (place: LivePlace, id: string, job: ForeignJob | undefined, state: unknown) => {
    if (FINISHED.has(state as string)) return;
    hub.record(revoked(place, id, job, Date.now(), 'removed'));
  },
);

/**
 * Removing what is finished is housekeeping, and BullMQ removes unknown ids with success. So the state is asked for
 * first, on the same connection: the broker answers in order, and the host waits for nothing.
 */
function watchRemoval(
  queue: ForeignQueueBase,
  id: string,
  job: ForeignJob | undefined,
  state: () => Promise<string>,
  remove: () => unknown,
): unknown {
  if (hub.recorder === undefined) return remove();
  let before: Promise<string>;
  try {
    before = quietly(state);
  } catch (error) {
    before = Promise.reject(error);
  }
  before.catch(() => {});
  const result = remove();
  watch<unknown>(result, (count) => {
    if (count === 0) return;
    watch<string>(before, (was) => removed(placeOf(queue), id, job, was));
  });
  return result;
}

/** The statics and methods of `Job` by which jobs come and go. */
export function patchJobProducer(Job: { readonly prototype: object }): void {
  observe(Job, 'create', () => (job) => created(job as ForeignJob));
  observe(Job, 'createBulk', () => (jobs) => createdBulk(jobs as readonly ForeignJob[]));
  wrap(
    Job.prototype,
    'remove',
    (stands) =>
      function remove(this: unknown, ...args) {
        const job = this as ForeignJob;
        const act = (): unknown => stands.apply(job, args);
        return job.id === undefined ? act() : watchRemoval(job.queue, job.id, job, () => job.getState(), act);
      },
  );
}

export function patchQueue(Queue: { readonly prototype: object }): void {
  wrap(
    Queue.prototype,
    'remove',
    (stands) =>
      function remove(this: unknown, ...args) {
        const queue = this as ForeignQueueBase & { getJobState?(id: string): Promise<string> };
        const id = String(args[0]);
        const state = async (): Promise<string> => (await queue.getJobState?.(id)) ?? 'waiting';
        return watchRemoval(queue, id, undefined, state, () => stands.apply(queue, args));
      },
  );
}

interface FlowProducer {
  readonly opts?: { readonly connection?: unknown };
}

export function patchFlowProducer({ prototype }: { readonly prototype: object }): void {
  for (const name of ['add', 'addBulk']) {
    observe<FlowProducer>(
      prototype,
      name,
      ({ opts }) =>
        (trees) =>
          flowAdded(trees as FlowNode | undefined, opts?.connection),
    );
  }
  // Makes a node's jobs, before they are sent; a flow below a job that exists has its root elsewhere.
  wrap(
    prototype,
    'addNode',
    (stands) =>
      function addNode(this: unknown, ...args) {
        const made = stands.apply(this, args);
        if (hub.recorder === undefined) return made;
        const { connection } = (this as FlowProducer).opts ?? {};
        const at = args[0] as { readonly parent?: { readonly parentOpts?: unknown } } | undefined;
        const hasUnknownRoot = at?.parent?.parentOpts !== undefined;
        if (made instanceof Promise) watch<FlowNode>(made, (tree) => flowMade(tree, connection, hasUnknownRoot));
        else flowMade(made as FlowNode, connection, hasUnknownRoot);
        return made;
      },
  );
}

export function patchJobScheduler({ prototype }: { readonly prototype: object }): void {
  observe<ForeignQueueBase>(prototype, 'upsertJobScheduler', (scheduler) => (job) => {
    iterationAdded(job as ForeignJob | undefined);
    scheduleChanged(scheduler);
  });
  observe<ForeignQueueBase>(prototype, 'removeJobScheduler', (scheduler) => () => scheduleChanged(scheduler));
}
