import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BrainProject, hasBrain, type MintedAgent, type Row } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type Redis, startRedis } from '../support/redis.js';
import { sharedBrain } from '../support/shared-brain.js';
import { target } from '../support/targets.mjs';

const REDACTED = '[REDACTED]';
const PROGRAM = fileURLToPath(new URL('./fixtures/worker.mjs', import.meta.url));

describe.runIf(hasBrain()).each(['bullmq-5.81.5', 'bullmq-6.7.0'])('a worker of %s in a live brain', (library) => {
  const secret = `hunter2-${randomBytes(8).toString('hex')}`;
  let redis: Redis;
  let brain: BrainProject;
  let agent: MintedAgent;
  let child: Child;

  /** The row once it is in one of the states. */
  const rowIn = async (id: string, ...states: string[]): Promise<Row> => {
    let row: Row | undefined;
    const found = async (): Promise<boolean> => {
      row = await brain.task('bullmq', `orders:${id}`);
      return row !== undefined && states.includes(row.state);
    };
    await waitFor(found, {
      timeout: 30_000,
      interval: 200,
      what: () => `orders:${id} in ${states.join(' or ')}: ${JSON.stringify(row)}\n${child.stderr()}`,
    });
    return row as unknown as Row;
  };

  beforeAll(async () => {
    redis = await startRedis();
    brain = await sharedBrain();
    agent = await brain.mintAgent('orders');
    const env = { ...agent.env, REDIS_URL: redis.url, JOB_SECRET: secret, Z4J_AGENT_NAME: 'warehouse' };
    child = await runChild({ target: await target(library), program: PROGRAM, env });
    await child.printed('added', 30_000);
  });

  afterAll(async () => {
    await child?.[Symbol.asyncDispose]();
    await redis?.stop();
  });

  test('the agent is online and of a current version', async () => {
    await waitFor(async () => (await brain.agent(agent.agentId)).state === 'online', { timeout: 20_000 });
    // The brain writes the row of the process after that of the agent.
    await waitFor(async () => (await brain.agentWorkers()).length > 0, { timeout: 20_000 });
    expect(await brain.agent(agent.agentId)).toMatchObject({
      version_status: 'current',
      host_name: 'warehouse',
      engine_adapters: ['bullmq'],
    });
    expect(await brain.agentWorkers()).toMatchObject([{ state: 'online', pid: child.pid }]);
  });

  test('a job that succeeds shows its arguments, result and run time', async () => {
    const row = await rowIn('ok', 'success');
    expect(row).toMatchObject({
      name: 'ship',
      queue: 'orders',
      args: [{ lines: 3, customer: 'Ada' }],
      exception: null,
    });
    expect(row.result).toEqual({ total: 12.5, lines: 3 });
    expect(row.runtime_ms).toBeGreaterThanOrEqual(0);
    expect(row.received_at && row.started_at && row.finished_at).toBeTruthy();
  });

  test('a job that fails shows its exception and where it was thrown', async () => {
    const row = await rowIn('no', 'failure');
    expect(row).toMatchObject({ name: 'refuse', exception: 'TypeError: No such article: A-1', result: null });
    expect(row.traceback).toContain('worker.mjs');
    expect(row.traceback).not.toContain('z4j');
    expect(row.traceback).not.toContain('instrumentations');
  });

  test('a job that fails once is retried and succeeds', async () => {
    const row = await rowIn('twice', 'success');
    expect(row.retry_count).toBe(1);
    const kinds = (await brain.events('bullmq', 'orders:twice')).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'task.retried')).toHaveLength(1);
    expect(kinds.filter((kind) => kind === 'task.started')).toHaveLength(2);
    expect(kinds).not.toContain('task.failed');
  });

  test('a delayed job is a row from the moment it is added, and revoked when it is removed', async () => {
    expect(await rowIn('later', 'received')).toMatchObject({ args: [{ lines: 9 }], started_at: null });
    await rowIn('withdrawn', 'received');
    child.kill('SIGUSR2');
    await child.printed('removed');
    await rowIn('withdrawn', 'revoked');
  });

  test('worker and queue are known', async () => {
    const row = await rowIn('ok', 'success');
    const workers = await brain.workers();
    expect(workers.map(({ name }) => name)).toEqual([row.worker_name]);
    expect(workers).toMatchObject([{ engine: 'bullmq', state: 'online' }]);
    expect(row.worker_name).toContain('warehouse');
    expect(await brain.queues()).toMatchObject([{ name: 'orders', engine: 'bullmq' }]);
  });

  test('a secret in a job is nowhere in what the brain shows', async () => {
    const row = await rowIn('secret', 'success');
    expect(row.args).toEqual([
      { password: REDACTED, card: { apiKey: REDACTED }, headers: [{ 'x-auth-token': REDACTED }] },
    ]);
    expect(row.result).toMatchObject({ receiptToken: REDACTED });
    await rowIn('leak', 'failure');
    const shown = await brain.everything();
    expect(shown).toContain('A-1');
    const at = shown.indexOf(secret);
    expect(at === -1 ? '' : shown.slice(at - 200, at + 100)).toBe('');
  });

  test('a clean stop takes the agent offline at once', async () => {
    child.kill('SIGTERM');
    const { code, signal } = await child.ended();
    expect({ code, signal, stderr: child.stderr() }).toEqual({ code: 0, signal: null, stderr: '' });
    // Sooner than the brain's own sweep, which takes half a minute.
    await waitFor(async () => (await brain.agent(agent.agentId)).state === 'offline', { timeout: 5_000 });
    expect(await brain.agentWorkers()).toMatchObject([{ state: 'offline' }]);
  });
});
