import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Brain, type BrainProject, hasBrain, type MintedAgent, type Row, startBrain } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type Redis, startRedis } from '../support/redis.js';
import { type Broker, openBroker } from './fixtures/broker.js';

const PROGRAM = fileURLToPath(new URL('./fixtures/operated.mjs', import.meta.url));
const patient = { timeout: 100_000, interval: 500 };

/** With a scheduler of its own, and impatient with tasks that do not end. */
const ENV = {
  Z4J_EMBEDDED_SCHEDULER: 'true',
  Z4J_RECONCILIATION_SWEEP_SECONDS: '30',
  Z4J_RECONCILIATION_STALE_THRESHOLD_SECONDS: '60',
};

describe.runIf(hasBrain())('what a live brain asks for by itself', () => {
  let redis: Redis;
  let broker: Broker;
  let server: Brain;
  let brain: BrainProject;
  let agent: MintedAgent;
  let child: Child;
  let completed: string;
  let failed: string;

  /** The commands of an action, newest first. */
  const commands = async (action: string): Promise<Row[]> => {
    const { items } = await brain.rest.get(`/projects/${brain.slug}/commands?limit=100`);
    return items.filter((row: Row) => row.action === action);
  };
  const post = (path: string, body: object): Promise<Row> => brain.rest.post(`/projects/${brain.slug}/${path}`, body);

  beforeAll(async () => {
    redis = await startRedis();
    broker = await openBroker('bullmq-6.7.0', redis);
    server = await startBrain({ env: ENV });
    brain = await server.project('asked');
    agent = await brain.mintAgent('desk');
    completed = `parked:${await broker.ended('parked', 'send')}`;
    failed = `parked:${await broker.ended('parked', 'send', 'no letter')}`;
    child = await runChild({
      target: broker.folder,
      program: PROGRAM,
      env: {
        ...agent.env,
        Z4J_AGENT_NAME: 'desk',
        Z4J_SERVICE_NAME: 'desk',
        REDIS_URL: redis.url,
        QUEUES: 'mail',
        IDLE_QUEUES: 'parked',
        FORGOTTEN: `${completed},${failed}`,
      },
    });
    await child.printed('ready', 30_000);
  });

  afterAll(async () => {
    await broker?.close();
    await child?.[Symbol.asyncDispose]();
    await server?.dispose();
    await redis?.stop();
  });

  test('a schedule that the brain owns fires, once for each time, and runs now', async () => {
    await waitFor(async () => (await brain.agent(agent.agentId)).capabilities?.bullmq, patient);
    const schedule = await post('schedules', {
      name: 'often',
      engine: 'bullmq',
      kind: 'interval',
      expression: '5',
      task_name: 'send',
      queue: 'mail',
      args: [],
      kwargs: { to: 'Ada' },
    });
    const fired = async (): Promise<Row[]> =>
      (await commands('schedule.fire')).filter(({ status }) => status === 'completed');
    await waitFor(async () => (await fired()).length >= 2, patient);
    await post(`schedules/${schedule.id}/disable`, {});
    await post(`schedules/${schedule.id}/trigger`, {});
    await waitFor(async () => (await commands('submit_task'))[0]?.status === 'completed', patient);
    const open = async (): Promise<number> =>
      (await commands('schedule.fire')).filter(({ status }) => /pending|dispatched/.test(status)).length;
    await waitFor(async () => (await open()) === 0, patient);
    const rows = [...(await fired()), ...(await commands('submit_task'))];
    const ids = await Promise.all(
      rows.map(async ({ id }) => (await brain.rest.get(`/projects/${brain.slug}/commands/${id}`)).result.task_id),
    );
    await broker.holds('mail', 'completed', new Set(ids).size);
    const jobs = await broker.queue('mail').getJobs(['completed']);
    expect(jobs.map(({ id }) => `mail:${id}`).sort()).toEqual([...new Set(ids)].sort());
    for (const { name, data } of jobs) expect({ name, data }).toEqual({ name: 'send', data: { to: 'Ada' } });
    expect(jobs.filter(({ id }) => id.startsWith('fire-')).length).toBeGreaterThanOrEqual(2);
    expect(jobs.filter(({ id }) => id.startsWith('command-'))).toHaveLength(1);
  });

  test('tasks whose end was lost are reconciled with what the broker knows', async () => {
    const state = async (id: string): Promise<string> => (await brain.task('bullmq', id))?.state;
    await waitFor(async () => (await state(completed)) === 'success', {
      ...patient,
      what: () => `${completed} a success in the brain; ${child.stderr()}`,
    });
    await waitFor(async () => (await state(failed)) === 'failure', patient);
    expect(await brain.task('bullmq', failed)).toMatchObject({
      exception: 'no letter',
      finished_at: expect.stringMatching(/^20/),
    });
    const asked = await commands('reconcile_task');
    expect(asked.length).toBeGreaterThanOrEqual(2);
    expect(asked.filter(({ status }) => status === 'failed')).toEqual([]);
    expect(child.stderr()).toBe('');
  });
});
