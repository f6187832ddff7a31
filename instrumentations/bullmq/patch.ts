import type { EnginePatch } from '../../src/engine.js';
import { patchJobConsumer, patchQueueBase, patchWorker } from './consumer.js';
import { patchAsyncFifoQueue, patchWorkerLoop } from './loop.js';
import { BullMQEngine } from './operate.js';
import { patchFlowProducer, patchJobProducer, patchJobScheduler, patchQueue } from './producer.js';
import { registry, seenClass } from './registry.js';

/** On every class that was patched, by whichever copy of this package, and whatever wraps it by now. */
const MARK = Symbol.for('z4j.bare.bullmq');

interface ForeignClass {
  readonly prototype: object;
}

interface Part {
  readonly name: string;
  /** Methods without which the class is not the one we know. */
  readonly methods: readonly string[];
  readonly statics?: readonly string[];
  readonly patch: (target: ForeignClass) => void;
}

const PARTS: readonly Part[] = [
  { name: 'QueueBase', methods: ['waitUntilReady', 'emit'], patch: patchQueueBase },
  { name: 'Queue', methods: ['add', 'remove', 'getJob'], patch: patchQueue },
  {
    name: 'Worker',
    methods: ['run', 'processJob', 'callProcessJob', 'getNextJob', 'emit'],
    patch(Worker) {
      patchWorker(Worker);
      patchWorkerLoop(Worker);
    },
  },
  {
    name: 'Job',
    methods: ['moveToCompleted', 'moveToFailed', 'moveToDelayed', 'remove'],
    statics: ['create', 'createBulk', 'fromId'],
    patch(Job) {
      patchJobProducer(Job);
      patchJobConsumer(Job);
    },
  },
  { name: 'FlowProducer', methods: ['add', 'addBulk'], patch: patchFlowProducer },
  { name: 'AsyncFifoQueue', methods: ['add', 'fetch'], patch: patchAsyncFifoQueue },
  { name: 'JobScheduler', methods: ['upsertJobScheduler'], patch: patchJobScheduler },
];

const isFunction = (holder: object, name: string): boolean => typeof Reflect.get(holder, name) === 'function';

function isKnown(candidate: unknown, { methods, statics = [] }: Part): candidate is ForeignClass {
  if (typeof candidate !== 'function' || typeof candidate.prototype !== 'object') return false;
  const { prototype } = candidate;
  return methods.every((name) => isFunction(prototype, name)) && statics.every((name) => isFunction(candidate, name));
}

/**
 * Patches the prototypes and statics of the classes in the exports of BullMQ's entry module, or of any of its class
 * files, in place. Objects made before are reached too.
 */
export const bullmqPatch: EnginePatch = {
  engine: 'bullmq',
  packages: ['bullmq'],
  supported: { from: '3.0.0', below: '7.0.0' },
  patch(exports, { version, file }) {
    if (typeof exports !== 'object' || exports === null) return false;
    let found = false;
    for (const part of PARTS) {
      const candidate: unknown = Reflect.get(exports, part.name);
      if (!isKnown(candidate, part)) continue;
      found = true;
      seenClass(file, part.name, candidate);
      if (Object.hasOwn(candidate, MARK)) continue;
      Object.defineProperty(candidate, MARK, { value: version });
      part.patch(candidate);
    }
    if (found) {
      registry.version = version;
      registry.makeDefault ??= () => new BullMQEngine();
    }
    return found;
  },
};
