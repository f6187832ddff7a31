'use strict';
// What applications do with BullMQ; each scenario has a queue of its own, named like itself.

const boom = (text) => {
  throw new TypeError(text);
};

/** The first run loses its lock, which is never renewed, and ends after the second. */
async function stallOnce(t, prepare = () => {}) {
  const options = {
    // Long enough for the second run on a busy machine, short enough for the first to lose it.
    lockDuration: 1000,
    lockRenewTime: 60_000,
    stalledInterval: 300,
    maxStalledCount: 5,
    concurrency: 2,
  };
  const seen = { runs: 0 };
  let finished = false;
  const worker = t.worker(async () => {
    if (++seen.runs > 1) return 'second';
    await t.sleep(4000);
    finished = true;
    return 'first';
  }, options);
  prepare(worker, seen);
  const queue = t.queue();
  const job = await queue.add('stalls', { n: 1 });
  await t.state(queue, job.id, 'completed');
  await t.until(() => finished, 'the end of the first run');
  await t.sleep(100);
}

const scenarios = {
  async plain(t) {
    t.worker(async (job) => ({ got: job.data.n }));
    const queue = t.queue();
    const job = await queue.add('greet', { n: 7 }, { attempts: 2, priority: 5 });
    await t.state(queue, job.id, 'completed');
  },

  async falsy(t) {
    t.worker(async (job) => [0, '', false, null, undefined][job.data.i]);
    const queue = t.queue();
    for (let i = 0; i < 5; i++) {
      const job = await queue.add('falsy', { i }, { jobId: `v${i}` });
      await t.state(queue, job.id, 'completed');
    }
  },

  async retries(t) {
    t.worker(async (job) => boom(`no ${job.data.n}`));
    const queue = t.queue();
    const job = await queue.add('fails', { n: 1 }, { attempts: 3, backoff: { type: 'fixed', delay: 30 } });
    await t.state(queue, job.id, 'failed');
  },

  async retriesAtOnce(t) {
    t.worker(async () => boom('no'));
    const queue = t.queue();
    const job = await queue.add('fails', {}, { attempts: 2 });
    await t.state(queue, job.id, 'failed');
  },

  async recovers(t) {
    let runs = 0;
    t.worker(async () => (++runs === 1 ? boom('first') : 'second'));
    const queue = t.queue();
    const job = await queue.add('recovers', {}, { attempts: 3 });
    await t.state(queue, job.id, 'completed');
  },

  async unrecoverable(t) {
    t.worker(async () => {
      throw new t.bullmq.UnrecoverableError('for good');
    });
    const queue = t.queue();
    const job = await queue.add('fails', {}, { attempts: 5 });
    await t.state(queue, job.id, 'failed');
  },

  async discard(t) {
    t.worker(async (job) => {
      job.discard();
      boom('discarded');
    });
    const queue = t.queue();
    const job = await queue.add('fails', {}, { attempts: 5 });
    await t.state(queue, job.id, 'failed');
  },

  async backoffStops(t) {
    t.worker(async () => boom('stop'), { settings: { backoffStrategy: () => -1 } });
    const queue = t.queue();
    const job = await queue.add('fails', {}, { attempts: 5, backoff: { type: 'custom' } });
    await t.state(queue, job.id, 'failed');
  },

  async bulk(t) {
    t.worker(async () => 1);
    const queue = t.queue();
    const jobs = await queue.addBulk([
      { name: 'a', data: { n: 1 } },
      { name: 'b', data: { n: 2 } },
    ]);
    for (const job of jobs) await t.state(queue, job.id, 'completed');
  },

  async removal(t) {
    const queue = t.queue();
    const one = await queue.add('later', { n: 1 }, { delay: 60_000 });
    await one.remove();
    const two = await queue.add('later', { n: 2 }, { delay: 60_000 });
    await queue.remove(two.id);
    await queue.remove('nobody');
    t.worker(async () => 1);
    const done = await queue.add('done', {});
    await t.state(queue, done.id, 'completed');
    await (await queue.getJob(done.id)).remove();
    return { done: done.id };
  },

  async putBackDelayed(t) {
    let runs = 0;
    t.worker(async (job, token) => {
      if (++runs > 1) return 'ok';
      await job.moveToDelayed(Date.now() + 50, token);
      throw new (
        t.bullmq.DelayedError ??
        class DelayedError extends Error {
          name = 'DelayedError';
        }
      )();
    });
    const queue = t.queue();
    const job = await queue.add('later', { n: 1 });
    await t.state(queue, job.id, 'completed');
  },

  async putBackWaiting(t) {
    let runs = 0;
    t.worker(async (job, token) => {
      if (++runs > 1) return 'ok';
      await job.moveToWait(token);
      throw new t.bullmq.WaitingError();
    });
    const queue = t.queue();
    const job = await queue.add('later', { n: 1 });
    await t.state(queue, job.id, 'completed');
  },

  async waitsForChildren(t) {
    const queue = t.queue();
    const children = t.queue('-children');
    t.worker(async (job, token) => {
      if (job.data.step === 2) return 'ok';
      await children.add('child', {}, { parent: { id: job.id, queue: job.queueQualifiedName ?? `bull:${t.q}` } });
      await (job.updateData ?? job.update).call(job, { step: 2 });
      if (await job.moveToWaitingChildren(token)) {
        t.worker(async () => 'child', {}, '-children');
        const error = new Error('waits');
        error.name = 'WaitingChildrenError';
        throw error;
      }
      return 'ok';
    });
    const job = await queue.add('parent', { step: 1 });
    await t.state(queue, job.id, 'completed');
  },

  async rateLimited(t) {
    let runs = 0;
    const worker = t.worker(
      async () => {
        if (++runs > 1) return 'ok';
        // Well above the time a busy process needs: up to 4.x a limit that has run out leaves the job active.
        await worker.rateLimit(1500);
        throw t.bullmq.Worker.RateLimitError();
      },
      { limiter: { max: 1, duration: 500 } },
    );
    const queue = t.queue();
    const job = await queue.add('limited', { n: 1 });
    await t.state(queue, job.id, 'completed');
  },

  async flow(t) {
    t.worker(async (job) => job.name);
    t.worker(async (job) => job.name, {}, '-children');
    const children = `${t.q}-children`;
    const tree = await t.flows().add({
      name: 'parent',
      queueName: t.q,
      data: { p: 1 },
      children: [
        { name: 'one', queueName: children, data: { c: 1 } },
        { name: 'two', queueName: children, data: { c: 2 }, children: [{ name: 'leaf', queueName: children }] },
      ],
    });
    await t.state(t.queue(), tree.job.id, 'completed');
    const ids = (node) => ({ id: node.job.id, children: (node.children ?? []).map(ids) });
    return ids(tree);
  },

  /** The producer hears of its add long after the child has run. */
  async flowPickedUpFirst(t) {
    t.worker(async (job) => job.name);
    t.worker(async (job) => job.name, {}, '-children');
    const children = `${t.q}-children`;
    const connection = await t.slowly(500);
    const tree = await t.flows(connection).add({
      name: 'parent',
      queueName: t.q,
      children: [{ name: 'child', queueName: children, children: [{ name: 'leaf', queueName: children }] }],
    });
    await t.state(t.queue(), tree.job.id, 'completed');
    const [child] = tree.children;
    return { parent: tree.job.id, child: child.job.id, leaf: child.children[0].job.id };
  },

  async failedParent(t) {
    t.worker(async () => 'parent');
    t.worker(async () => boom('child'), {}, '-children');
    const tree = await t.flows().add({
      name: 'parent',
      queueName: t.q,
      children: [{ name: 'child', queueName: `${t.q}-children`, opts: { failParentOnFailure: true } }],
    });
    await t.state(t.queue(), tree.job.id, 'failed');
    return { parent: tree.job.id, child: tree.children[0].job.id };
  },

  async legacyRepeat(t) {
    let runs = 0;
    t.worker(async () => ++runs);
    const queue = t.queue();
    await queue.add('tick', { n: 1 }, { repeat: { every: 120, limit: 3 } });
    if (t.major < 6) await t.until(() => runs >= 3, '3 runs');
    else await t.until(() => runs === 1, 'a run');
    await t.sleep(150);
    return { runs };
  },

  async scheduler(t) {
    let runs = 0;
    t.worker(async () => ++runs);
    const queue = t.queue();
    await queue.upsertJobScheduler('beat', { every: 150, limit: 3 }, { name: 'tick', data: { n: 1 } });
    await t.until(() => runs >= 3, '3 runs');
    await t.sleep(200);
    return { runs };
  },

  async stalledForGood(t) {
    const options = {
      // Long enough to fail it on a busy machine, short enough for the run to lose it.
      lockDuration: 1000,
      lockRenewTime: 60_000,
      stalledInterval: 300,
      maxStalledCount: 0,
      concurrency: 2,
    };
    let finished = false;
    t.worker(async () => {
      await t.sleep(4000);
      finished = true;
    }, options);
    const queue = t.queue();
    const job = await queue.add('stalls', { n: 1 });
    await t.state(queue, job.id, 'failed');
    await t.until(() => finished, 'the end of the run');
    await t.sleep(100);
  },

  stalledOnce: (t) => stallOnce(t),

  async stalledAndBackAtOnce(t) {
    await stallOnce(t, (worker, seen) => {
      const { Job } = worker;
      class SlowToRead extends Job {
        static async fromId(...args) {
          await t.until(() => seen.runs === 2, 'the second run');
          return Job.fromId(...args);
        }
      }
      Object.defineProperty(worker, 'Job', { value: SlowToRead });
    });
  },

  async lockLost(t) {
    const queue = t.queue();
    t.worker(async (job) => {
      await (await t.client(queue)).del(`bull:${t.q}:${job.id}:lock`);
      return 'lost';
    });
    const job = await queue.add('loses', { n: 1 });
    await t.until(() => globalThis.recorded.some((e) => e.kind === 'task.rejected' && e.taskId === `${t.q}:${job.id}`));
  },

  async closedByForce(t) {
    const queue = t.queue();
    let running = false;
    let end;
    const worker = t.worker(async () => {
      running = true;
      await new Promise((resolve) => {
        end = resolve;
      });
    });
    await queue.add('hangs', { n: 1 });
    await t.until(() => running, 'the run');
    await worker.close(true);
    end();
    await t.sleep(50);
  },

  async byHand(t) {
    const queue = t.queue();
    const worker = t.worker(undefined, { autorun: false });
    await queue.add('one', { n: 1 });
    await queue.add('two', { n: 2 });
    const first = await worker.getNextJob('token');
    await first.moveToCompleted('done', 'token', false);
    const second = await worker.getNextJob('token');
    await second.moveToFailed(new RangeError('by hand'), 'token', false);
  },

  async startedLater(t) {
    const queue = t.queue();
    const worker = t.worker(async () => 1, { autorun: false });
    const job = await queue.add('waits', {});
    worker.run().catch(() => {});
    await t.state(queue, job.id, 'completed');
  },

  async many(t) {
    let runs = 0;
    for (let i = 0; i < 2; i++) t.worker(async () => ++runs, { concurrency: 3 });
    const queue = t.queue();
    const one = (n) => ({ name: 'many', data: { n } });
    await queue.addBulk(Array.from({ length: 100 }, (_, n) => one(n)));
    for (let n = 0; n < 100; n++) await queue.add('many', { n });
    await t.until(async () => (await queue.getJobCounts('completed')).completed === 200, '200 completed');
    return { runs };
  },

  async derived(t) {
    class MyWorker extends t.bullmq.Worker {
      async processJob(...args) {
        return super.processJob(...args);
      }
    }
    class MyQueue extends t.bullmq.Queue {}
    const { connection } = t;
    t.keep(new MyWorker(t.q, async (job) => job.data.n, { connection }));
    const queue = t.keep(new MyQueue(t.q, { connection }));
    const job = await queue.add('derived', { n: 1 });
    await t.state(queue, job.id, 'completed');
  },

  async sandboxFork(t) {
    t.worker(require.resolve('./sandbox.cjs'));
    const queue = t.queue();
    const fine = await queue.add('fine', { n: 1 });
    await t.state(queue, fine.id, 'completed');
    const crash = await queue.add('crash', { crash: true });
    await t.state(queue, crash.id, 'failed');
  },

  async sandboxThreads(t) {
    t.worker(require.resolve('./sandbox.cjs'), { useWorkerThreads: true });
    const queue = t.queue();
    const fine = await queue.add('fine', { n: 1 });
    await t.state(queue, fine.id, 'completed');
  },

  async sandboxAdds(t) {
    t.worker(require.resolve('./sandbox.cjs'));
    const queue = t.queue();
    const { connection, folder } = t;
    const job = await queue.add('adds', { add: { folder, connection, queue: `${t.q}-added` } });
    await t.state(queue, job.id, 'completed');
  },

  async duplicates(t) {
    const queue = t.queue();
    const add = (n) => queue.add('once', { n }, { jobId: 'same' });
    await add(1);
    await add(2);
    if (t.major >= 6 || t.version.startsWith('5.8')) {
      const held = { deduplication: { id: 'held' }, delay: 60_000 };
      await queue.add('held', { n: 3 }, held);
      await queue.add('held', { n: 4 }, held);
    }
    t.worker(async (job) => job.data.n);
    await t.state(queue, 'same', 'completed');
  },

  async frozen(t) {
    const options = Object.freeze({ attempts: 2, backoff: Object.freeze({ type: 'fixed', delay: 1 }) });
    const before = JSON.stringify(options);
    const queue = t.queue();
    t.worker(async () => 1);
    for (const n of [1, 2]) {
      const job = await queue.add('frozen', Object.freeze({ n }), options);
      await t.state(queue, job.id, 'completed');
    }
    return { same: JSON.stringify(options) === before };
  },

  async refusedAdd(t) {
    const queue = t.queue();
    const error = await queue.add('big', { text: 'x'.repeat(100) }, { sizeLimit: 10 }).catch((cause) => cause);
    return { message: error.message };
  },

  async prefixed(t) {
    const prefix = 'app{x}';
    t.worker(async () => 1, { prefix });
    const queue = t.queue('', { prefix });
    const job = await queue.add('there', { n: 1 });
    await t.state(queue, job.id, 'completed');
  },

  async twoCopies(t) {
    const other = require('node:module').createRequire(`${process.env.TEST_OTHER}/index.js`)('bullmq');
    const { connection } = t;
    t.worker(async (job) => job.data.n);
    t.keep(new other.Worker(`${t.q}-other`, async (job) => job.data.n, { connection }));
    const queues = [t.queue(), t.keep(new other.Queue(`${t.q}-other`, { connection }))];
    for (const queue of queues) await t.state(queue, (await queue.add('copy', { n: 1 })).id, 'completed');
  },

  async late(t) {
    t.worker(async (job) => job.data.n);
    const queue = t.queue();
    await t.state(queue, (await queue.add('unseen', {})).id, 'completed');
    globalThis.sweep();
    await t.state(queue, (await queue.add('seen', {})).id, 'completed');
  },

  async deep(t) {
    // Past the entry module, as its missing exports map allows.
    const { Worker } = t.requireThere('bullmq/dist/cjs/classes/worker');
    const { Queue } = t.requireThere('bullmq/dist/cjs/classes/queue');
    const { connection } = t;
    t.keep(new Worker(t.q, async () => 1, { connection }));
    const queue = t.keep(new Queue(t.q, { connection }));
    await t.state(queue, (await queue.add('deep', {})).id, 'completed');
  },

  async readonly(t) {
    const queue = t.queue();
    const error = await queue.add('refused', {}).catch((cause) => cause);
    return { message: error.message };
  },

  async spans(t) {
    // An OpenTelemetry API as it registers itself, with a context manager made of an AsyncLocalStorage.
    const { AsyncLocalStorage } = require('node:async_hooks');
    const storage = new AsyncLocalStorage();
    const SPAN = Symbol.for('OpenTelemetry Context Key SPAN');
    const contextOf = (entries) => ({
      getValue: (key) => entries.get(key),
      setValue: (key, value) => contextOf(new Map(entries).set(key, value)),
    });
    globalThis[Symbol.for('opentelemetry.js.api.1')] = {
      context: {
        active: () => storage.getStore() ?? contextOf(new Map()),
        with: (context, run) => storage.run(context, run),
      },
    };
    const within = (spanId, run) =>
      storage.run(contextOf(new Map([[SPAN, { spanContext: () => ({ traceId: 'a'.repeat(32), spanId }) }]])), run);
    const queue = t.queue();
    within('1'.repeat(16), () => t.worker(async () => 1));
    const job = await within('2'.repeat(16), () => queue.add('traced', {}));
    await t.state(queue, job.id, 'completed');
    delete globalThis[Symbol.for('opentelemetry.js.api.1')];
  },
};

module.exports = { scenarios };
