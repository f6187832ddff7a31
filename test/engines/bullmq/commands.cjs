'use strict';
// What operators do to BullMQ; each scenario has a queue of its own, named like itself, and tells what it saw.

const fail = async () => {
  throw new TypeError('no');
};

const scenarios = {
  ...require('./commands-schedules.cjs').scenarios,

  async retryTask(t) {
    let broken = true;
    t.worker(async (job) => (broken ? fail() : job.data));
    const queue = t.queue();
    const job = await queue.add('sometimes', { n: 1 });
    await t.state(queue, job.id, 'failed');
    broken = false;
    const task_id = `${t.q}:${job.id}`;
    const result = await t.command('retry_task', { task_id, override_args: null, override_kwargs: null });
    await t.state(queue, job.id, 'completed');
    const overridden = await t.command('retry_task', { task_id, override_args: [{ n: 2 }], override_kwargs: {} });
    await t.state(queue, overridden.task_id.split(':')[1], 'completed');
    const data = (await queue.getJob(overridden.task_id.split(':')[1])).data;
    const later = await t.command('retry_task', { task_id, eta: Date.now() / 1000 + 60 });
    const laterState = await (await queue.getJob(later.task_id.split(':')[1])).getState();
    const waiting = await queue.add('sometimes', {}, { delay: 60_000 });
    const conflict = await t.command('retry_task', { task_id: `${t.q}:${waiting.id}` });
    const missing = await t.command('retry_task', { task_id: `${t.q}:999` });
    return { result, data, laterState, conflict, missing };
  },

  async deadLetters(t) {
    let broken = true;
    t.worker(async (job) => (broken ? fail() : job.data), { concurrency: 20 });
    const queue = t.queue();
    const jobs = await queue.addBulk(Array.from({ length: 120 }, (_, n) => ({ name: 'dead', data: { n } })));
    await t.until(async () => (await queue.getJobCounts('failed')).failed === 120, '120 failed');
    const first = await t.command('dlq.list', { queue: t.q, limit: 100, cursor: null });
    const second = await t.command('dlq.list', { queue: t.q, limit: 100, cursor: first.next_cursor });
    const ids = new Set([...first.entries, ...second.entries].map(({ task_id }) => task_id));
    broken = false;
    const requeued = await t.command('requeue_dead_letter', { task_id: `${t.q}:${jobs[0].id}` });
    await t.state(queue, jobs[0].id, 'completed');
    const again = await t.command('requeue_dead_letter', { task_id: `${t.q}:${jobs[0].id}` });
    const task_ids = [...jobs.slice(1).map(({ id }) => `${t.q}:${id}`), `${t.q}:nobody`];
    const bulk = await t.command('bulk_retry', { filter: { task_ids }, max: 1000 });
    await t.until(async () => (await queue.getJobCounts('completed')).completed === 120, '120 completed');
    return {
      first: { ...first, entries: first.entries.slice(0, 1) },
      second: second.next_cursor,
      ids: ids.size,
      requeued,
      again,
      bulk,
    };
  },

  async cancelQueued(t) {
    const queue = t.queue();
    const waiting = await queue.add('waits', {});
    const delayed = await queue.add('waits', {}, { delay: 60_000 });
    const results = [];
    for (const { id } of [waiting, delayed, { id: 'nobody' }]) {
      results.push(await t.command('cancel_task', { task_id: `${t.q}:${id}` }));
    }
    return { results, states: [await t.stateOf(queue, waiting.id), await t.stateOf(queue, delayed.id)] };
  },

  async cancelScheduled(t) {
    const queue = t.queue();
    await queue.upsertJobScheduler('yearly', { pattern: '0 0 1 1 *' }, { name: 'tick' });
    const [pending] = await queue.getDelayed();
    return { result: await t.command('cancel_task', { task_id: `${t.q}:${pending.id}` }) };
  },

  async cancelActive(t) {
    let end;
    t.worker(async () => {
      await new Promise((resolve) => {
        end = resolve;
      });
    });
    const queue = t.queue();
    const job = await queue.add('deaf', {}, { attempts: 3 });
    await t.until(() => end !== undefined, 'the run');
    const result = await t.command('cancel_task', { task_id: `${t.q}:${job.id}` });
    const state = await t.stateOf(queue, job.id);
    end();
    // The slot is free again.
    const next = await queue.add('next', {});
    end = undefined;
    await t.until(() => end !== undefined, 'the next run');
    end();
    await t.state(queue, next.id, 'completed');
    const finished = await t.command('cancel_task', { task_id: `${t.q}:${next.id}` });
    return { result, state, finished };
  },

  async cancelListening(t) {
    let running = false;
    t.worker(async (_job, _token, signal) => {
      running = true;
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('heard'))));
    });
    const queue = t.queue();
    const job = await queue.add('listens', {}, { attempts: 3 });
    await t.until(() => running, 'the run');
    const result = await t.command('cancel_task', { task_id: `${t.q}:${job.id}` });
    return { result, state: await t.stateOf(queue, job.id) };
  },

  async cancelSandboxed(t) {
    t.worker(require.resolve('./sandbox.cjs'));
    const queue = t.queue();
    const job = await queue.add('sleeps', { sleep: 3000 }, { attempts: 3 });
    await t.state(queue, job.id, 'active');
    await t.sleep(500);
    const { cancelled } = await t.command('cancel_task', { task_id: `${t.q}:${job.id}` });
    return { cancelled, state: await t.stateOf(queue, job.id) };
  },

  async purge(t) {
    let end;
    t.worker(
      async () => {
        await new Promise((resolve) => {
          end = resolve;
        });
      },
      { concurrency: 1 },
    );
    const queue = t.queue();
    await queue.addBulk(Array.from({ length: 5 }, (_, n) => ({ name: 'waits', data: { n } })));
    await queue.add('delayed', {}, { delay: 60_000 });
    await t.until(() => end !== undefined, 'the run');
    let asked;
    const refused = await t.command(
      'purge_queue',
      { queue: t.q },
      {
        allowPurge(name, depth) {
          asked = { name, depth };
          throw new Error('no token');
        },
      },
    );
    const before = (await queue.getJobCounts('wait')).wait;
    const result = await t.command('purge_queue', { queue: t.q });
    const { wait, active, delayed } = await queue.getJobCounts('wait', 'active', 'delayed');
    end();
    const unknown = await t.command('purge_queue', { queue: 'no such queue' });
    return { asked, refused: refused.message, before, result, wait, active, delayed, unknown: unknown.refused };
  },

  async reconcile(t) {
    t.worker(async (job) => (job.data.fail ? fail() : 1));
    const queue = t.queue();
    const good = await queue.add('good', {});
    const bad = await queue.add('bad', { fail: true });
    const later = await queue.add('later', {}, { delay: 60_000 });
    await t.state(queue, good.id, 'completed');
    await t.state(queue, bad.id, 'failed');
    const ask = (id) => t.command('reconcile_task', { task_id: `${t.q}:${id}` });
    return {
      good: await ask(good.id),
      bad: await ask(bad.id),
      later: await ask(later.id),
      nobody: await ask('nobody'),
    };
  },

  async submit(t) {
    const queue = t.queue();
    const fire = { task_name: 'fired', queue: t.q, args: [{ n: 1 }], kwargs: {}, fire_id: 'f:1' };
    const first = await t.command('submit_task', fire);
    const again = await t.command('submit_task', fire);
    const named = await t.command('submit_task', {
      name: 'named',
      queue: t.q,
      args: [],
      kwargs: { a: 1 },
      priority: 'high',
    });
    const unknown = await t.command('submit_task', { name: 'x', queue: '../etc', args: [], kwargs: {} });
    const jobs = await queue.getJobs(['wait', 'prioritized', 'delayed', 'paused']);
    return {
      first: first.task_id,
      same: first.task_id === again.task_id,
      jobs: jobs
        .map(({ name, data, opts }) => ({ name, data, priority: opts.priority ?? 0 }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      named: named.task_id.startsWith(`${t.q}:command-`),
      unknown,
    };
  },

  async pool(t) {
    let running = 0;
    let peak = 0;
    t.worker(
      async () => {
        peak = Math.max(peak, ++running);
        await t.sleep(6000);
        running -= 1;
      },
      { concurrency: 1 },
    );
    const queue = t.queue();
    await queue.addBulk(Array.from({ length: 6 }, () => ({ name: 'slow', data: {} })));
    await t.until(() => running === 1, 'the first run');
    const grown = await t.command('pool_grow', { worker_name: `test:${t.q}`, delta: 4 });
    const began = Date.now();
    await t.until(() => running === 5, 'five runs');
    const ms = Date.now() - began;
    const shrunk = await t.command('pool_shrink', { worker_name: `test:${t.q}`, delta: 3 });
    const tooFar = await t.command('pool_shrink', { worker_name: `test:${t.q}`, delta: 100 });
    const nonsense = await t.command('pool_grow', { worker_name: `test:${t.q}`, delta: -1 });
    const stranger = await t.command('pool_grow', { worker_name: 'other', delta: 1 });
    return { grown, fast: ms < 5000, shrunk, refused: [tooFar, nonsense, stranger].map(({ refused }) => refused) };
  },

  async consumer(t) {
    let runs = 0;
    const worker = t.worker(async () => ++runs);
    const queue = t.queue();
    const ended = new Promise((resolve) => worker.once('completed', resolve));
    await queue.add('one', {});
    await ended;
    const name = { worker_name: `test:${t.q}`, queue: t.q };
    const cancelled = await t.command('cancel_consumer', name);
    await t.sleep(300);
    const held = await queue.add('two', {});
    await t.sleep(500);
    const state = await t.stateOf(queue, held.id);
    const added = await t.command('add_consumer', name);
    await t.state(queue, held.id, 'completed');
    const again = await t.command('add_consumer', name);
    const other = await t.command('add_consumer', { ...name, queue: 'elsewhere' });
    return {
      cancelled,
      state,
      added,
      again: again.noop,
      other: other.refused,
      active: (await queue.getJobCounts('active')).active,
    };
  },

  async restart(t) {
    let completed = 0;
    let running = false;
    const worker = t.worker(async (job) => {
      running = true;
      await t.sleep(job.data.ms);
    });
    worker.on('completed', () => {
      completed += 1;
    });
    const queue = t.queue();
    const slow = await queue.add('slow', { ms: 500 });
    await t.until(() => running, 'the run');
    const result = await t.command('restart_worker', { worker_name: `test:${t.q}` });
    const state = await t.stateOf(queue, slow.id);
    const next = await queue.add('next', { ms: 1 });
    await t.state(queue, next.id, 'completed');
    await t.until(() => completed === 2, 'both heard of');
    const isRunning = worker.isRunning();
    await worker.close();
    const left = await queue.add('left', { ms: 1 });
    await t.sleep(300);
    return { result, state, isRunning, left: await t.stateOf(queue, left.id) };
  },

  async rateLimit(t) {
    const at = [];
    t.worker(async () => at.push(Date.now()));
    const queue = t.queue();
    await t.state(queue, (await queue.add('warm', {})).id, 'completed');
    const limited = await t.command('rate_limit', { task_name: t.q, rate: '2/s' });
    at.length = 0;
    await queue.addBulk(Array.from({ length: 6 }, () => ({ name: 'limited', data: {} })));
    await t.until(() => at.length === 6, 'six runs');
    const took = at[5] - at[0];
    const removed = await t.command('rate_limit', { task_name: t.q, rate: '0' });
    const nonsense = await t.command('rate_limit', { task_name: t.q, rate: 'fast' });
    return { limited, slow: took > 1500, removed, nonsense: nonsense.refused };
  },

  async rateLifted(t) {
    const done = [];
    t.worker(async (job) => done.push(job.name), { concurrency: 3 });
    const queue = t.queue();
    await t.state(queue, (await queue.add('warm', {})).id, 'completed');
    // The first of an hour has run or is running: the others wait.
    await t.command('rate_limit', { task_name: t.q, rate: '1/h' });
    await queue.addBulk(Array.from({ length: 4 }, () => ({ name: 'limited', data: {} })));
    await t.until(() => done.length === 2, 'the one run of this hour');
    await t.sleep(300);
    const held = done.length;
    const began = Date.now();
    const { rate } = await t.command('rate_limit', { task_name: t.q, rate: '0' });
    await t.until(() => done.length === 5, 'all runs');
    return { rate, held, soon: Date.now() - began < 4000 };
  },

  async figures(t) {
    let end;
    t.worker(async () => {
      await new Promise((resolve) => {
        end = resolve;
      });
    });
    const other = t.queue('-idle');
    await other.add('a', {});
    await other.add('b', {}, { priority: 3 });
    const queue = t.queue();
    await queue.add('runs', {});
    await t.until(() => end !== undefined, 'the run');
    await queue.add('waits', {});
    const engine = globalThis.engines.get('bullmq');
    const recorded = globalThis.recorded.length;
    const { queueDepths, workers } = await engine.health(AbortSignal.timeout(5000));
    const events = globalThis.recorded.slice(recorded).filter(({ taskId }) => taskId.startsWith(t.q));
    end();
    return {
      depths: [queueDepths[t.q], queueDepths[`${t.q}-idle`]],
      worker: workers[`test:${t.q}`],
      inventory: engine.inventory().queues.includes(t.q),
      actions: engine.actions().includes('restart_worker'),
      events: events.length,
    };
  },

  async workerOnly(t) {
    // No Queue of the application: ours must leave the queue's settings alone and open no connection.
    let runs = 0;
    const { Queue } = t.bullmq;
    const queue = new Queue(t.q, { connection: t.connection, streams: { events: { maxLen: 40 } } });
    await queue.waitUntilReady();
    await t.sleep(100);
    await queue.close();
    t.worker(async () => ++runs);
    const engine = globalThis.engines.get('bullmq');
    const before = await t.clients();
    const { queueDepths } = await engine.health(AbortSignal.timeout(5000));
    const result = await t.command('submit_task', { name: 'direct', queue: t.q, args: [{}], kwargs: {} });
    await t.until(() => runs === 1, 'the run');
    await t.sleep(200);
    const connections = (await t.clients()) - before;
    const probe = t.queue('-probe');
    const maxLen = await (await t.client(probe)).hget(`bull:${t.q}:meta`, 'opts.maxLenEvents');
    return { depth: queueDepths[t.q], submitted: result.task_id !== undefined, maxLen, connections };
  },
};

module.exports = { scenarios };
