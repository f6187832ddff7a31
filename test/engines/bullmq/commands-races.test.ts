import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type StubBrain, type StubCommandOutcome, stubBrain } from '../../../src/testing/index.js';
import { type Broker, openBroker } from '../../interop/fixtures/broker.js';
import { type Child, runChild } from '../../support/child.js';
import { waitFor } from '../../support/net.js';
import { type BadNetwork, startProxy } from '../../support/proxy.js';
import { type Redis, startRedis } from '../../support/redis.js';

const PROGRAM = fileURLToPath(new URL('../../interop/fixtures/operated.mjs', import.meta.url));

type Parameters = { readonly [key: string]: unknown };
type Result = { readonly [key: string]: unknown };

const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
const only = <T>(values: readonly T[]): T => {
  expect(values).toHaveLength(1);
  return values[0] as T;
};

describe.each(['bullmq-3.16.2', 'bullmq-6.7.0'])('commands and what happens at the same time, %s', (library) => {
  let redis: Redis;
  let broker: Broker;
  let brain: StubBrain;
  let network: BadNetwork;
  let redisWay: BadNetwork;
  let child: Child;

  const act = (action: string, parameters: Parameters): Promise<StubCommandOutcome> =>
    brain.command({ action, parameters: { engine: 'bullmq', ...parameters } }, { timeoutMs: 30_000 });
  const done = async (action: string, parameters: Parameters): Promise<Result> => {
    const outcome = await act(action, parameters);
    expect(outcome).toMatchObject({ status: 'success', error: null, acknowledged: true });
    return outcome.result as Result;
  };
  const add = async (queue: string, name: string, count: number, data = {}, attempts = 3): Promise<string[]> => {
    const jobs = await broker.queue(queue).addBulk(numbers(count).map(() => ({ name, data, opts: { attempts } })));
    return jobs.map(({ id }) => id);
  };
  const runs = async (queue: string, id: string): Promise<number> =>
    Number(await broker.client.hget('runs', `${queue}:${id}`));
  /** So many of the jobs have begun: the worker knows them, not only the broker. */
  const begun = (queue: string, ids: readonly string[], count: number): Promise<unknown> =>
    waitFor(async () => (await Promise.all(ids.map((id) => runs(queue, id)))).filter(Boolean).length === count);
  const told = (queue: string, id: string, kind: string): number =>
    brain.events.filter((event) => event.taskId === `${queue}:${id}` && event.kind === kind).length;
  const all = (queue: string, state: string, count: number): Promise<void> => broker.holds(queue, state, count);

  beforeAll(async () => {
    redis = await startRedis();
    broker = await openBroker(library, redis);
    brain = await stubBrain();
    redisWay = await startProxy(redis.port);
    network = await startProxy(Number(new URL(brain.url).port));
    child = await runChild({
      target: broker.folder,
      program: PROGRAM,
      env: {
        ...brain.env,
        Z4J_BRAIN_URL: network.url,
        Z4J_AGENT_NAME: 'desk',
        Z4J_SERVICE_NAME: 'desk',
        REDIS_URL: `redis://127.0.0.1:${redisWay.port}`,
        QUEUES: 'cancelled,retried,storm,arriving,shrunk,restarted,twice',
        IDLE_QUEUES: 'parked',
        CONCURRENCY: '50',
      },
    });
    await child.printed('ready', 30_000);
    await brain.until(() => brain.workers().length === 7, 20_000);
  });

  afterAll(async () => {
    await broker?.close();
    await child?.[Symbol.asyncDispose]();
    await network?.close();
    await redisWay?.close();
    await brain?.close();
    await redis?.stop();
  });

  test('a job that completes while it is cancelled is one of both, and the answer says which', async () => {
    const ids = await add('cancelled', 'deaf', 40);
    await begun('cancelled', ids, 40);
    // Each looks every 20 ms whether it may end, and the broker's word takes its time.
    await redisWay.trouble({ latencyMs: 10 });
    await broker.client.set('released', '1');
    const answers = await Promise.all(ids.map((id) => done('cancel_task', { task_id: `cancelled:${id}` })));
    await redisWay.trouble();
    await broker.client.del('released');
    for (const [at, id] of ids.entries()) {
      const { cancelled, noop } = answers[at] as Result;
      expect(cancelled === 'active' || noop === true).toBe(true);
      expect(await broker.state('cancelled', id)).toBe(cancelled === undefined ? 'completed' : 'failed');
      const [yes, no] = cancelled === undefined ? ['succeeded', 'revoked'] : ['revoked', 'succeeded'];
      await brain.until(() => told('cancelled', id, `task.${yes}`) === 1);
      expect(told('cancelled', id, `task.${no}`)).toBe(0);
      expect(await runs('cancelled', id)).toBe(1);
    }
  });

  test('a job that another process retries at the same moment is retried once', async () => {
    const jobs = await broker
      .queue('retried')
      .addBulk(numbers(40).map(() => ({ name: 'broken', data: {}, opts: { attempts: 1 } })));
    await all('retried', 'failed', 40);
    await broker.client.set('mended', '1');
    const attempts = jobs.map(async ({ id }, at) => {
      const job = await broker.queue('retried').getJob(id);
      const action = at % 2 === 0 ? 'requeue_dead_letter' : 'retry_task';
      const [answer, other] = await Promise.all([
        act(action, { task_id: `retried:${id}` }),
        job?.retry('failed').then(
          () => true,
          () => false,
        ),
      ]);
      if (answer.status === 'failed') expect(answer.error).toMatch(/not a dead letter|only what has finished|state/);
      // What had completed again by then may be run once more, but only if the answer says so.
      return { id, retries: Number(answer.status === 'success') + Number(other) };
    });
    const retried = await Promise.all(attempts);
    await all('retried', 'completed', 40);
    await broker.client.del('mended');
    for (const { id, retries } of retried) {
      expect(retries).toBeGreaterThan(0);
      expect({ id, runs: await runs('retried', id) }).toEqual({ id, runs: 1 + retries });
    }
  });

  test('a storm of commands for one job each leaves the workers their turns', async () => {
    const ids = await add('storm', 'broken', 200, {}, 1);
    await all('storm', 'failed', 200);
    await broker.client.set('mended', '1');
    let answered = 0;
    const answers = ids.map(async (id) => {
      const answer = await done('bulk_retry', { filter: { engine: 'bullmq', task_ids: [`storm:${id}`] }, max: 1 });
      answered += 1;
      return answer;
    });
    await waitFor(async () => (await broker.queue('storm').getJobCounts()).completed, { interval: 5 });
    expect(answered).toBeLessThan(200);
    for (const answer of await Promise.all(answers)) expect(answer).toMatchObject({ retried: 1, skipped: 0 });
    await all('storm', 'completed', 200);
    await broker.client.del('mended');
    const ran = await Promise.all(ids.map((id) => runs('storm', id)));
    expect(new Set(ran)).toEqual(new Set([2]));
  });

  test('a purge takes what is there, and what arrives meanwhile is not told as purged while it lives', async () => {
    let adding = true;
    const added: string[] = [];
    const producer = (async () => {
      while (adding) added.push(...(await add('parked', 'send', 5)));
    })();
    let purged = 0;
    for (let turn = 0; turn < 10; turn++) {
      await waitFor(async () => ((await broker.queue('parked').getJobCounts()).waiting ?? 0) > 20);
      purged += (await done('purge_queue', { queue: 'parked', force: true })).purged as number;
    }
    adding = false;
    await producer;
    const states = await Promise.all(added.map((id) => broker.state('parked', id)));
    const alive = added.filter((_, at) => states[at] !== 'unknown');
    const revoked = (): number =>
      brain.events.filter(({ kind, data }) => kind === 'task.revoked' && data.queue === 'parked').length;
    await brain.until(() => revoked() >= purged);
    expect(alive.filter((id) => told('parked', id, 'task.revoked') > 0)).toEqual([]);
    expect(revoked()).toBe(purged);
    expect(added.length - alive.length).toBe(purged);
    await done('purge_queue', { queue: 'parked', force: true });
  });

  test('a worker that works at a purge keeps what it has taken', async () => {
    const jobs = numbers(600).map((n) => ({ name: 'send', data: { n }, opts: { removeOnComplete: true } }));
    const added = await broker.queue('arriving').addBulk(jobs);
    const { purged } = await done('purge_queue', { queue: 'arriving', force: true });
    await all('arriving', 'active', 0);
    await all('arriving', 'waiting', 0);
    const ends = (): number =>
      brain.events.filter(({ kind, data }) => data.queue === 'arriving' && /succeeded|revoked/.test(kind)).length;
    await brain.until(() => ends() >= added.length, 10_000);
    for (const { id } of added) {
      const ran = await runs('arriving', id);
      expect({ id, told: [told('arriving', id, 'task.succeeded'), told('arriving', id, 'task.revoked')] }).toEqual({
        id,
        told: [ran, 1 - ran],
      });
    }
    expect(brain.events.filter(({ kind, data }) => data.queue === 'arriving' && kind === 'task.revoked')).toHaveLength(
      purged as number,
    );
  });

  test('a pool that shrinks to one under load loses nothing', async () => {
    const ids = await add('shrunk', 'slow', 500, { ms: 150 });
    await waitFor(async () => (await broker.queue('shrunk').getJobCounts()).active === 50);
    expect(await done('pool_shrink', { worker_name: 'desk:shrunk', delta: 49 })).toEqual({
      concurrency: 1,
      before: 50,
    });
    await waitFor(async () => (await broker.queue('shrunk').getJobCounts()).active === 1);
    for (let look = 0; look < 10; look++) {
      expect((await broker.queue('shrunk').getJobCounts()).active).toBeLessThanOrEqual(1);
    }
    expect((await broker.queue('shrunk').getJobCounts()).waiting).toBeGreaterThan(0);
    await done('pool_grow', { worker_name: 'desk:shrunk', delta: 49 });
    await all('shrunk', 'completed', 500);
    expect(await Promise.all(ids.map((id) => runs('shrunk', id)))).toEqual(ids.map(() => 1));
  });

  test('a restart with a hundred active jobs runs each of them once', async () => {
    await done('pool_grow', { worker_name: 'desk:restarted', delta: 50 });
    const ids = await add('restarted', 'slow', 200, { ms: 3000 });
    await begun('restarted', ids, 100);
    expect(await done('restart_worker', { worker_name: 'desk:restarted' })).toEqual({ restarted: 1, waited_for: 100 });
    await all('restarted', 'completed', 200);
    expect(await Promise.all(ids.map((id) => runs('restarted', id)))).toEqual(ids.map(() => 1));
    for (const id of ids) await brain.until(() => told('restarted', id, 'task.succeeded') === 1);
    expect(
      brain.events.filter(({ kind, data }) => data.queue === 'restarted' && /failed|retried|rejected/.test(kind)),
    ).toEqual([]);
  });

  test('the answer to a command whose connection drops arrives by the next one', async () => {
    const before = brain.counts.connections;
    await network.trouble({ stall: 'up' });
    const outcome = act('submit_task', { task_name: 'once', queue: 'parked', args: [], kwargs: {} });
    await all('parked', 'waiting', 1);
    network.reset();
    await network.trouble();
    const result = (await outcome).result as Result;
    expect(await outcome).toMatchObject({ status: 'success' });
    expect(brain.counts.connections).toBeGreaterThan(before);
    const job = only(await broker.queue('parked').getJobs(['waiting', 'wait']));
    expect(result.task_id).toBe(`parked:${job.id}`);
    await done('purge_queue', { queue: 'parked', force: true });
  });

  test('a command that comes again by another connection has its stored answer', async () => {
    const answers = (id: string): object[] =>
      brain.results.filter((result) => result.id === id).map(({ payload }) => payload);
    const send = (id: string, action: string, parameters: Parameters): void =>
      brain.send(
        'command',
        {
          action,
          target: { type: 'agent', id: null },
          parameters: { engine: 'bullmq', ...parameters },
          timeout_seconds: 60,
          issued_by: null,
          delivery_claim_token: null,
        },
        id,
      );
    const reconnect = async (): Promise<void> => {
      const before = brain.counts.connections;
      brain.drop();
      await brain.until(() => brain.counts.connections > before && brain.connections === 1, 20_000);
    };
    const failed = await broker.added('twice', 'failed', 'broken', {}, { attempts: 1 });
    const retry = (id: string): void =>
      send(id, 'retry_task', { task_id: `twice:${failed}`, override_args: [{}], override_kwargs: {} });
    retry('same-1');
    await brain.until(() => answers('same-1').length > 0);
    await reconnect();
    retry('same-1');
    // An answer that may have been lost with its connection is sent again as well.
    await brain.until(() => answers('same-1').length >= 3);
    expect(new Set(answers('same-1').map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers('same-1')[0]).toMatchObject({ status: 'success' });

    // And while it is still being carried out.
    await begun('twice', await add('twice', 'deaf', 1), 1);
    const restart = (): void => send('same-2', 'restart_worker', { worker_name: 'desk:twice' });
    restart();
    await reconnect();
    restart();
    await broker.client.set('released', '1');
    await brain.until(() => answers('same-2').length >= 2, 20_000);
    await broker.client.del('released');
    const restarted = { status: 'success', result: { restarted: 1, waited_for: 1 } };
    for (const answer of answers('same-2')) expect(answer).toMatchObject(restarted);
    await all('twice', 'active', 0);
    const counts = await broker.queue('twice').getJobCounts();
    expect({ failed: counts.failed, completed: counts.completed }).toEqual({ failed: 2, completed: 1 });
  });

  test('the host has said nothing but what it was told to do', () => {
    const lines = child.stderr().split('\n').filter(Boolean);
    expect(lines.filter((line) => !/purge_queue|restart_worker|connection/.test(line))).toEqual([]);
    expect(child.process.exitCode).toBeNull();
  });
});
