import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BrainProject, type CommandName, hasBrain, type MintedAgent, type Row } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type Redis, startRedis } from '../support/redis.js';
import { sharedBrain } from '../support/shared-brain.js';
import { type Broker, openBroker } from './fixtures/broker.js';

const PROGRAM = fileURLToPath(new URL('./fixtures/operated.mjs', import.meta.url));

/** One story: a brain gives every command of a token to the process that connected first. */
describe.runIf(hasBrain())('two processes of one token on one host', () => {
  let home: string;
  let redis: Redis;
  let broker: Broker;
  let brain: BrainProject;
  let agent: MintedAgent;
  let first: Child;
  let second: Child;
  let workers: { [queue: string]: string };

  const act = (name: CommandName, body: object): Promise<Row> =>
    brain.command(name, { agent_id: agent.agentId, engine: 'bullmq', ...body });

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'z4j-siblings-'));
    redis = await startRedis();
    broker = await openBroker('bullmq-6.7.0', redis);
    brain = await sharedBrain('siblings');
    agent = await brain.mintAgent('depot');
    const start = async (queue: string): Promise<Child> => {
      const env = { ...agent.env, REDIS_URL: redis.url, QUEUES: queue, Z4J_AGENT_NAME: 'depot', Z4J_HOME: home };
      const child = await runChild({
        target: broker.folder,
        program: PROGRAM,
        env: { ...env, Z4J_SERVICE_NAME: 'depot', Z4J_LOG_LEVEL: 'info', CONCURRENCY: '1' },
      });
      await child.printed('ready', 30_000);
      await waitFor(
        async () => {
          const rows = await brain.workers();
          const row = rows.find(({ name }) => name.endsWith(`:${queue}`));
          return row && (await brain.rest.get(`/projects/${brain.slug}/workers/${row.id}`)).agent_id;
        },
        { timeout: 60_000, interval: 200, what: () => child.stderr() },
      );
      return child;
    };
    first = await start('mail');
    second = await start('img');
    const names = (await brain.workers()).map(({ name }): [string, string] => [name.split(':').at(-1), name]);
    workers = Object.fromEntries(names);
  });

  afterAll(async () => {
    await broker?.close();
    await first?.[Symbol.asyncDispose]();
    await second?.[Symbol.asyncDispose]();
    await redis?.stop();
    await rm(home, { recursive: true, force: true });
  });

  test('they are two rows with a name of its own each', async () => {
    expect(workers).toEqual({ mail: 'depot:mail', img: 'depot-1:img' });
    const rows = await brain.agentWorkers();
    expect(rows.map(({ pid }) => pid).sort()).toEqual([first.pid, second.pid].sort());
  });

  test('the first hands a worker command over to the second', async () => {
    await broker.queue('img').addBulk(Array.from({ length: 3 }, () => ({ name: 'deaf', data: {} })));
    await broker.holds('img', 'active', 1);
    const grown = await act('pool-resize', { worker_name: workers.img, delta: 2 });
    expect(grown).toMatchObject({ status: 'completed', result: { concurrency: 3, before: 1 } });
    await broker.holds('img', 'active', 3);
    await waitFor(() => second.stderr().includes('pool_grow'), { what: () => second.stderr() });
    expect(first.stderr()).not.toContain('pool_grow');
  });

  test('a job that runs in the second is cancelled there', async () => {
    const [job] = await broker.queue('img').getJobs(['active']);
    const answer = await act('cancel-task', { task_id: `img:${job?.id}` });
    expect(answer).toMatchObject({ status: 'completed', result: { cancelled: 'active', how: 'abandoned' } });
    expect(await broker.state('img', job?.id as string)).toBe('failed');
    await broker.client.set('released', '1');
    await broker.holds('img', 'active', 0);
  });

  test('a queue that only the second has is purged and limited there', async () => {
    const consumer = { worker_name: workers.img, queue: 'img' };
    expect((await act('cancel-consumer', consumer)).result).toMatchObject({ paused: 1 });
    await broker.queue('img').addBulk(Array.from({ length: 3 }, (_, n) => ({ name: 'send', data: { n } })));
    await broker.holds('img', 'waiting', 3);
    const purged = await act('purge-queue', { queue: 'img', observed_depth: 3 });
    expect(purged).toMatchObject({ status: 'completed', result: { queue: 'img', purged: 3, depth_before: 3 } });
    const limited = await act('rate-limit', { task_name: 'img', rate: '5/s', engine: undefined });
    expect(limited).toMatchObject({ status: 'completed', result: { queue: 'img', max: 5 } });
    expect(await broker.queue('img').getGlobalRateLimit?.()).toEqual({ max: 5, duration: 1000 });
    expect((await act('add-consumer', consumer)).result).toMatchObject({ resumed: 1 });
  });

  test('dead letters of both are listed by whichever is asked', async () => {
    const own = await broker.added('mail', 'failed', 'broken');
    const other = await broker.added('img', 'failed', 'broken');
    const list = (queue: string): Promise<Row> =>
      brain.rest.get(`/projects/${brain.slug}/dead-letters?engine=bullmq&queue=${queue}`);
    expect((await list('mail')).entries).toMatchObject([{ task_id: `mail:${own}` }]);
    expect((await list('img')).entries.map(({ task_id }: Row) => task_id)).toContain(`img:${other}`);
  });

  test('what nobody has any more is refused with the reason and the remedy', async () => {
    second.kill('SIGKILL');
    await second.ended();
    const restarted = await act('restart-worker', { worker_name: workers.img });
    expect(restarted).toMatchObject({ status: 'failed', result: null });
    expect(restarted.error).toMatch(/depot-1:img.*another process.*token of its own/);
    const purged = await act('purge-queue', { queue: 'img', force: true });
    expect(purged).toMatchObject({ status: 'failed' });
    expect(purged.error).toMatch(/img/);
    expect(first.process.exitCode).toBeNull();
  });
});
