'use strict';
// What applications do with BullMQ; each scenario has a queue of its own, named like itself.

const boom = (text) => {
  throw new TypeError(text);
};

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
        await worker.rateLimit(300);
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
    const children = t.q + '-children';
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
};

module.exports = { scenarios };
