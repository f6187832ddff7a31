import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BrainProject, type CommandName, hasBrain, type MintedAgent, type Row } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type Redis, startRedis } from '../support/redis.js';
import { sharedBrain } from '../support/shared-brain.js';
import { type Broker, openBroker } from './fixtures/broker.js';

const PROGRAM = fileURLToPath(new URL('./fixtures/operated.mjs', import.meta.url));

describe.runIf(hasBrain()).each(['bullmq-6.7.0', 'bullmq-5.81.5'])(
  'an operator of a live brain acts on %s',
  (library) => {
    let redis: Redis;
    let broker: Broker;
    let brain: BrainProject;
    let agent: MintedAgent;
    let narrow: MintedAgent;
    const children: Child[] = [];

    const act = (name: CommandName, body: object, by = agent): Promise<Row> =>
      brain.command(name, { agent_id: by.agentId, engine: 'bullmq', ...body });
    /** What an executed command says. */
    const done = async (name: CommandName, body: object): Promise<Row> => {
      const row = await act(name, body);
      expect(row).toMatchObject({ status: 'completed', error: null });
      return row.result;
    };
    const failed = async (name: CommandName, body: object, by = agent): Promise<string> => {
      const row = await act(name, body, by);
      expect(row.status).toBe('failed');
      return row.error;
    };
    const refused = async (name: CommandName, body: object, by = agent): Promise<string> => {
      const error = await act(name, body, by).catch((cause: Error) => cause.message);
      expect(error).toBeTypeOf('string');
      return error as string;
    };
    const post = (path: string, body: object): Promise<Row> => brain.rest.post(`/projects/${brain.slug}/${path}`, body);
    const deadLetters = (query: string): Promise<Row> =>
      brain.rest.get(`/projects/${brain.slug}/dead-letters?engine=bullmq&${query}`);
    const worker = (queue: string): string => `desk:${queue}`;
    const known = (queue: string, id: string, state: string): Promise<unknown> =>
      waitFor(async () => (await brain.task('bullmq', `${queue}:${id}`))?.state === state, {
        timeout: 20_000,
        interval: 150,
        what: `${queue}:${id} ${state} in the brain`,
      });

    beforeAll(async () => {
      redis = await startRedis();
      broker = await openBroker(library, redis);
      brain = await sharedBrain('commands');
      agent = await brain.mintAgent('desk');
      narrow = await brain.mintAgent('narrow');
      const start = async (env: Record<string, string>): Promise<void> => {
        const settings = { REDIS_URL: redis.url, Z4J_SERVICE_NAME: 'desk', ...env };
        const child = await runChild({ target: broker.folder, program: PROGRAM, env: settings });
        children.push(child);
        await child.printed('ready', 30_000);
      };
      await start({ ...agent.env, QUEUES: 'mail,img', IDLE_QUEUES: 'parked', Z4J_AGENT_NAME: 'desk' });
      const few = { Z4J_ALLOW_COMMANDS: 'cancel_task', Z4J_AGENT_NAME: 'narrow' };
      await start({ ...narrow.env, ...few, QUEUES: 'narrow' });
      // Worker commands are taken once the event log has the evidence, which heartbeats are not.
      await waitFor(
        async () => {
          const rows = await brain.workers();
          const reported = await Promise.all(
            rows.map(({ id }) => brain.rest.get(`/projects/${brain.slug}/workers/${id}`)),
          );
          return reported.filter((row) => row.agent_id).length === 3;
        },
        { timeout: 60_000, interval: 300, what: () => children.map((child) => child.stderr()).join('\n') },
      );
    });

    afterAll(async () => {
      await broker?.close();
      await Promise.all(children.map((child) => child[Symbol.asyncDispose]()));
      await redis?.stop();
    });

    test('a failed job is retried by its id, with both halves of another payload', async () => {
      const id = await broker.added('mail', 'failed', 'broken', { n: 1 });
      const task = { task_id: `mail:${id}` };
      expect(await refused('retry-task', task)).toMatch(/409/);
      expect(await refused('retry-task', { ...task, override_args: [{ n: 2 }] })).toMatch(/422/);
      await broker.client.set('mended', '1');
      const { new_task_id: made } = await done('retry-task', {
        ...task,
        override_args: [{ n: 2 }],
        override_kwargs: {},
      });
      const other = made.split(':')[1];
      await broker.reaches('mail', other, 'completed');
      expect(await broker.queue('mail').getJob(other)).toMatchObject({ name: 'broken', data: { n: 2 } });
      const eta = { ...task, override_args: [], override_kwargs: { n: 3 }, eta_seconds: 3600 };
      const later = (await done('retry-task', eta)).new_task_id.split(':')[1];
      expect(await broker.state('mail', later)).toBe('delayed');
      expect(await failed('retry-task', { ...eta, task_id: 'mail:999' })).toMatch(/no job 999/);
      await broker.client.del('mended');
    });

    test('dead letters are listed in pages, put back one by one and in bulk', async () => {
      const password = 'postgres://shop:hunter2hunter2@db/orders';
      const ids: string[] = [];
      for (let n = 0; n < 6; n++) ids.push(await broker.added('img', 'failed', 'broken', { n, password }));
      const first = await deadLetters('queue=img&limit=4');
      expect(first).toMatchObject({ total: 6, engine: 'bullmq' });
      expect(first.entries[0]).toMatchObject({ task_id: `img:${ids.at(-1)}`, task_name: 'broken', attempts: 1 });
      expect(JSON.stringify(first)).not.toContain('hunter2');
      const second = await deadLetters(`queue=img&limit=4&cursor=${first.next_cursor}`);
      expect(second.next_cursor).toBeNull();
      const listed = [...first.entries, ...second.entries].map(({ task_id }) => task_id);
      expect(listed).toEqual([...ids].reverse().map((id) => `img:${id}`));

      await Promise.all(ids.map((id) => known('img', id, 'failure')));
      await broker.client.set('mended', '1');
      expect(await done('requeue-dead-letter', { task_id: listed[0] })).toMatchObject({ task_id: listed[0] });
      await broker.reaches('img', ids.at(-1) as string, 'completed');
      expect(await failed('requeue-dead-letter', { task_id: listed[0] })).toMatch(/not a dead letter/);

      const bulk = await done('bulk-retry', { filter: { engine: 'bullmq', task_ids: listed.slice(0, 3) }, max: 10 });
      // One of the three has completed: what has is run again like the others.
      expect(bulk).toMatchObject({ retried: 3, skipped: 0, errors: {} });
      await broker.holds('img', 'failed', 3);

      const filter = { engine: 'bullmq', task_ids: listed.slice(3) };
      const request = { agent_id: agent.agentId, idempotency_key: `all-${library}`, filter, max: 10 };
      const issued = await post('bulk-retry-requests', request);
      let row = issued;
      await waitFor(
        async () => {
          row = await brain.rest.get(`/projects/${brain.slug}/bulk-retry-requests/${issued.id ?? issued.request_id}`);
          return row.succeeded_count === 3 || /succe|complet/i.test(row.status ?? row.state);
        },
        { timeout: 30_000, interval: 200, what: () => JSON.stringify(row) },
      );
      await broker.holds('img', 'failed', 0);
      await broker.holds('img', 'completed', 6);
      await broker.client.del('mended');
    });

    test('a job is cancelled wherever it is, and the answer tells how', async () => {
      const cancel = (id: string, queue = 'mail'): Promise<Row> => done('cancel-task', { task_id: `${queue}:${id}` });
      const waiting = await broker.added('parked', 'waiting', 'send');
      const delayed = await broker.added('parked', 'delayed', 'send', {}, { delay: 3_600_000 });
      const listens = await broker.added('mail', 'active', 'listens', {}, { attempts: 3 });
      const deaf = await broker.added('mail', 'active', 'deaf', {}, { attempts: 3 });
      expect(await cancel(waiting, 'parked')).toMatchObject({ cancelled: expect.stringMatching(/^wait/) });
      expect(await cancel(delayed, 'parked')).toEqual({ cancelled: 'delayed' });
      expect(await broker.state('parked', waiting)).toBe('unknown');
      expect(await broker.state('parked', delayed)).toBe('unknown');
      expect(await cancel(listens)).toEqual({ cancelled: 'active', how: 'signal' });
      expect(await cancel(deaf)).toMatchObject({ cancelled: 'active', how: 'abandoned' });
      expect(await broker.state('mail', listens)).toBe('failed');
      expect(await broker.state('mail', deaf)).toBe('failed');
      expect(await cancel(deaf)).toMatchObject({ noop: true, reason: 'already failed' });
      await broker.client.set('released', '1');
      await known('mail', deaf, 'revoked');
      await broker.client.del('released');
    });

    test('a queue is purged by who knows its depth, or by force', async () => {
      const fill = (count: number): Promise<unknown> =>
        broker.queue('parked').addBulk(Array.from({ length: count }, (_, n) => ({ name: 'send', data: { n } })));
      await fill(3);
      expect(await failed('purge-queue', { queue: 'parked' })).toMatch(/observed_depth/);
      expect(await failed('purge-queue', { queue: 'parked', observed_depth: 2 })).toMatch(
        /another depth than the 3 jobs/,
      );
      expect(await failed('purge-queue', { queue: 'parked', confirm_token: 'f'.repeat(64) })).toMatch(/another depth/);
      expect(await failed('purge-queue', { queue: 'no such', force: true })).toMatch(/no such/);
      await broker.holds('parked', 'waiting', 3);
      const answer = { queue: 'parked', purged: 3, depth_before: 3 };
      expect(await done('purge-queue', { queue: 'parked', observed_depth: 3 })).toEqual(answer);
      await broker.holds('parked', 'waiting', 0);
      await fill(2);
      const forced = { queue: 'parked', purged: 2, depth_before: 2 };
      expect(await done('purge-queue', { queue: 'parked', force: true })).toEqual(forced);
      await broker.holds('parked', 'waiting', 0);
    });

    test('a pool grows and shrinks at once', async () => {
      const resize = (delta: number): Promise<Row> => done('pool-resize', { worker_name: worker('img'), delta });
      expect(await resize(-3)).toEqual({ concurrency: 1, before: 4 });
      await broker.queue('img').addBulk(Array.from({ length: 4 }, () => ({ name: 'deaf', data: {} })));
      await broker.holds('img', 'active', 1);
      expect(await resize(2)).toEqual({ concurrency: 3, before: 1 });
      await broker.holds('img', 'active', 3);
      expect(await failed('pool-resize', { worker_name: worker('img'), delta: -100 })).toMatch(/less than one slot/);
      await broker.client.set('released', '1');
      await broker.holds('img', 'active', 0);
      await broker.client.del('released');
      expect(await resize(1)).toEqual({ concurrency: 4, before: 3 });
    });

    test('a consumer is taken away and given back, without losing a job', async () => {
      const consumer = { worker_name: worker('img'), queue: 'img' };
      expect(await done('cancel-consumer', consumer)).toMatchObject({ queue: 'img', paused: 1 });
      const ids = await Promise.all(Array.from({ length: 5 }, (_, n) => broker.queue('img').add('send', { n })));
      await waitFor(async () => (await broker.queue('img').getJobCounts()).waiting === 5, { timeout: 10_000 });
      expect(await failed('add-consumer', { ...consumer, queue: 'mail' })).toMatch(/serves img only/);
      expect(await done('add-consumer', consumer)).toEqual({ queue: 'img', resumed: 1 });
      for (const { id } of ids) await broker.reaches('img', id, 'completed');
      expect(await done('add-consumer', consumer)).toMatchObject({ noop: true });
    });

    test('a worker is restarted in place while its jobs end as they would', async () => {
      const slow = await broker.added('img', 'active', 'slow', { ms: 1000 });
      const pid = (children[0] as Child).pid;
      expect(await done('restart-worker', { worker_name: worker('img') })).toEqual({ restarted: 1, waited_for: 1 });
      expect(await broker.state('img', slow)).toBe('completed');
      const next = await broker.added('img', 'completed', 'send');
      expect((await broker.queue('img').getJob(next))?.returnvalue).toMatchObject({ pid });
    });

    test('a queue is limited to a rate, and freed', async () => {
      const limited = await done('rate-limit', { task_name: 'img', rate: '1/s', engine: undefined });
      expect(limited).toMatchObject({ queue: 'img', max: 1, duration: 1000, scope: 'all workers of the queue' });
      expect(await broker.queue('img').getGlobalRateLimit?.()).toEqual({ max: 1, duration: 1000 });
      const jobs = await broker
        .queue('img')
        .addBulk(Array.from({ length: 4 }, (_, n) => ({ name: 'send', data: { n } })));
      const removed = await done('rate-limit', { task_name: 'img', rate: '0', engine: undefined });
      expect(removed).toMatchObject({ queue: 'img', rate: '0' });
      expect(await broker.queue('img').getGlobalRateLimit?.()).toBeNull();
      for (const { id } of jobs) await broker.reaches('img', id, 'completed');
      const stranger = { task_name: 'nobody', rate: '5/s', engine: undefined };
      expect(await failed('rate-limit', stranger)).toMatch(/which queue is nobody of/);
    });

    test('what a process was not allowed is refused before it is sent, and by the process where a brain does not ask', async () => {
      const by = narrow;
      expect((await brain.agent(narrow.agentId)).capabilities.bullmq).toEqual(['cancel_task']);
      const task = { task_id: 'narrow:1' };
      expect(await refused('retry-task', { ...task, override_args: [], override_kwargs: {} }, by)).toMatch(/422/);
      expect(await refused('requeue-dead-letter', task, by)).toMatch(/422/);
      expect(await refused('restart-worker', { worker_name: 'narrow:narrow' }, by)).toMatch(/422/);
      expect(await failed('purge-queue', { queue: 'narrow', force: true }, by)).toMatch(/Z4J_ALLOW_COMMANDS/);
      const rate = { task_name: 'narrow', rate: '1/s', engine: undefined };
      expect(await failed('rate-limit', rate, by)).toMatch(/Z4J_ALLOW_COMMANDS/);
      expect((await act('cancel-task', { task_id: 'narrow:1' }, by)).result).toMatchObject({ noop: true });
    });

    test('a worker that nobody or another agent reported is refused', async () => {
      expect(await refused('restart-worker', { worker_name: 'desk:nobody' })).toMatch(/422|404/);
      expect(await refused('pool-resize', { worker_name: 'narrow:narrow', delta: 1 })).toMatch(/422/);
    });

    test('Run now of a schedule that the brain owns submits the task once', async () => {
      // A brain gives it to any agent that has the engine, allowed or not.
      children[1]?.kill('SIGTERM');
      await waitFor(async () => (await brain.agent(narrow.agentId)).state === 'offline', { timeout: 20_000 });
      const schedule = await post('schedules', {
        name: 'yearly',
        engine: 'bullmq',
        kind: 'cron',
        expression: '0 0 1 1 *',
        task_name: 'send',
        queue: 'mail',
        args: [],
        kwargs: { to: 'Ada' },
      });
      await post(`schedules/${schedule.id}/trigger`, {});
      let row: Row | undefined;
      await waitFor(
        async () => {
          const { items } = await brain.rest.get(`/projects/${brain.slug}/commands?limit=20`);
          row = items.find(({ action }: Row) => action === 'submit_task');
          return row?.status === 'completed';
        },
        { timeout: 20_000, interval: 200, what: () => JSON.stringify(row) },
      );
      const { result } = await brain.rest.get(`/projects/${brain.slug}/commands/${row?.id}`);
      const id = result.task_id.slice('mail:'.length);
      await broker.reaches('mail', id, 'completed');
      expect(await broker.queue('mail').getJob(id)).toMatchObject({ name: 'send', data: { to: 'Ada' } });
      await known('mail', id, 'success');
    });

    test('the processes said nothing and go on', () => {
      // A purge and a restart are told in the log.
      const lines = children.flatMap((child) => child.stderr().split('\n')).filter(Boolean);
      expect(lines.filter((line) => !/purge_queue|restart_worker/.test(line))).toEqual([]);
      expect(lines.filter((line) => line.includes('purge_queue parked')).length).toBe(5);
      expect(children.map((child) => child.process.exitCode)).toEqual([null, 0]);
    });
  },
);
