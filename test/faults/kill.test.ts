import { randomInt } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type StubBrain, stubBrain } from '../../src/testing/index.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type BadNetwork, startProxy } from '../support/proxy.js';
import { type Redis, startRedis } from '../support/redis.js';
import { target } from '../support/targets.mjs';
import { type BullMQ, loadBullMQ, startLocalHost } from './host.js';

const KILLS = Number(process.env.KILLS ?? 15);
/** Jobs that wait for the worker when it is started. */
const BACKLOG = 400;

let redis: Redis;
let folder: string;
let bullmq: BullMQ;
let root: string;
let brain: StubBrain;
let network: BadNetwork;

const children: Child[] = [];
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

async function start(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = await runChild({
    target: folder,
    program: fixture(program),
    args,
    env: {
      ...brain.env,
      Z4J_BRAIN_URL: network.url,
      Z4J_HOME: join(root, 'home'),
      Z4J_SERVICE_NAME: 's',
      Z4J_AGENT_NAME: 'h',
      Z4J_DELIVERY: 'complete',
      ...env,
    },
  });
  children.push(child);
  return child;
}

/** Numbers from 0 to 1 that a seed repeats. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const portOf = (stub: StubBrain): number => Number(new URL(stub.url).port);

beforeAll(async () => {
  [redis, folder] = await Promise.all([startRedis(), target('bullmq-5.81.5')]);
  bullmq = loadBullMQ(folder);
});

afterAll(() => redis?.stop());

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'z4j-kill-'));
  brain = await stubBrain();
  network = await startProxy(portOf(brain));
});

afterEach(async () => {
  for (const child of children.splice(0)) await child[Symbol.asyncDispose]();
  await network.close();
  await brain.close();
  rmSync(root, { recursive: true, force: true });
});

describe('kill -9', () => {
  test(
    `${KILLS} times under load: what was captured is at the brain, and nothing that did not happen`,
    async () => {
      const seed = Number(process.env.SEED ?? randomInt(2 ** 31));
      console.log(`seed ${seed}: repeat with SEED=${seed}`);
      const random = seeded(seed);
      const name = 'killed';
      const file = join(root, 'done.log');
      const queue = new bullmq.Queue(name, { connection: { host: '127.0.0.1', port: redis.port } });
      let added = 0;
      const fill = async (): Promise<void> => {
        const { waiting = 0 } = await queue.getJobCounts('waiting');
        const jobs = Array.from({ length: BACKLOG - waiting }, () => `n${added++}`);
        await queue.addBulk(jobs.map((jobId) => ({ name: 'work', data: {}, opts: { jobId } })));
      };
      for (let kill = 0; kill < KILLS; kill++) {
        await fill();
        const child = await start('killed.mjs', [name, `${redis.port}`, file]);
        await child.printed('ready', 30_000);
        await new Promise((resolve) => setTimeout(resolve, random() * 600));
        child.kill('SIGKILL');
        await child.ended();
      }
      const last = await start('killed.mjs', [name, `${redis.port}`, file]);
      await waitFor(async () => (await queue.getJobCounts('completed')).completed === added, { timeout: 60_000 });
      await brain.until(() => brain.events.length > 0 && brain.connections === 1, 20_000);
      last.kill('SIGTERM');
      expect(await last.ended()).toEqual({ code: 0, signal: null });

      const known = new Set(readFileSync(file, 'utf8').split('\n').filter(Boolean));
      const told = brain.events.filter(({ taskId }) => taskId !== '').map(({ kind, taskId }) => `${kind} ${taskId}`);
      const has = new Set(told);
      expect([...known].filter((line) => !has.has(line))).toEqual([]);
      console.log(`${KILLS} kills, ${added} jobs, ${known.size} transitions noted, ${told.length} events at the brain`);

      // Redis has every job completed; what is not told so was completed in the moment of a kill.
      const ended = told.filter((line) => line.startsWith('task.succeeded'));
      expect(new Set(ended).size).toBe(ended.length);
      expect(added - ended.length).toBeLessThanOrEqual(KILLS * 5);
      const real = new Set(Array.from({ length: added }, (_, at) => `${name}:n${at}`));
      expect(brain.events.filter(({ taskId }) => taskId !== '' && !real.has(taskId))).toEqual([]);
      const kinds = new Set(brain.events.filter(({ taskId }) => taskId !== '').map(({ kind }) => kind));
      expect([...kinds].filter((kind) => !/^task\.(received|started|succeeded)$/.test(kind))).toEqual([]);
      expect(new Set(brain.hellos.map(({ workerId }) => workerId))).toEqual(new Set(['s-h-0']));
      await queue.close();
    },
    KILLS * 10_000 + 120_000,
  );

  test('between the effect of a command and its result: it is not run twice, and is answered', async () => {
    const redisWay = await startProxy(redis.port);
    const args = ['commanded', `${redisWay.port}`, join(root, 'done.log')];
    const first = await start('killed.mjs', args);
    await first.printed('ready', 30_000);
    await brain.until(() => brain.connections === 1, 20_000);
    const submit = (task: string) =>
      brain.command(
        { action: 'submit_task', parameters: { name: task, queue: 'commanded', args: [{ n: 1 }], kwargs: {} } },
        { timeoutMs: 60_000 },
      );
    // The second one has nothing left to ask before it takes effect.
    expect(await submit('warm')).toMatchObject({ status: 'success' });
    const queue = new bullmq.Queue('commanded', { connection: { host: '127.0.0.1', port: redis.port } });
    const count = async (): Promise<number> => (await queue.getJobs()).filter((job) => job.name === 'once').length;
    await redisWay.trouble({ stall: 'down' });
    const outcome = submit('once');
    await waitFor(async () => (await count()) === 1);
    first.kill('SIGKILL');
    await first.ended();
    await redisWay.trouble();
    redisWay.reset();

    const second = await start('killed.mjs', args);
    expect(await outcome).toMatchObject({ status: 'failed', result: { indeterminate: true } });
    const id = brain.results.find(({ payload }) => payload.status === 'failed')?.id ?? '';
    const before = brain.results.length;
    const parameters = { name: 'once', queue: 'commanded', args: [{ n: 1 }], kwargs: {} };
    const payload = { action: 'submit_task', target: { type: 'agent', id: null }, parameters, timeout_seconds: 60 };
    brain.send('command', { ...payload, issued_by: null, delivery_claim_token: null }, id);
    const again = (): object[] => brain.results.slice(before).filter((result) => result.id === id);
    await brain.until(() => again().length > 0);
    expect(again()).toMatchObject([{ payload: { status: 'failed', result: { indeterminate: true } } }]);
    expect(await count()).toBe(1);
    second.kill('SIGTERM');
    await second.ended();
    await queue.close();
    await redisWay.close();
  });

  test('after the result was known and before it was sent: it arrives', async () => {
    const args = ['answered', `${redis.port}`, join(root, 'done.log')];
    const first = await start('killed.mjs', args);
    await first.printed('ready', 30_000);
    await brain.until(() => brain.connections === 1, 20_000);
    await network.trouble({ stall: 'up' });
    const parameters = { name: 'once', queue: 'answered', args: [{ n: 1 }], kwargs: {} };
    const outcome = brain.command({ action: 'submit_task', parameters }, { timeoutMs: 60_000 });
    const home = join(root, 'home');
    const files = (): string[] => readdirSync(home, { recursive: true }) as string[];
    const file = await waitFor(() => files().find((path) => path.endsWith('commands.jsonl')));
    await waitFor(() => readFileSync(join(home, file), 'utf8').includes('"status":"success"'));
    first.kill('SIGKILL');
    await first.ended();
    network.reset();
    await network.trouble();
    const second = await start('killed.mjs', args);
    expect(await outcome).toMatchObject({ status: 'success' });
    second.kill('SIGTERM');
    await second.ended();
  });

  test('and nobody starts it again: a sibling sends what it left', async () => {
    const home = join(root, 'home');
    const sibling = await startLocalHost(bullmq, { home, redisPort: redis.port, name: 'idle', brainUrl: network.url });
    const file = join(root, 'done.log');
    const queue = new bullmq.Queue('left', { connection: { host: '127.0.0.1', port: redis.port } });
    await queue.addBulk(
      Array.from({ length: 200 }, (_, at) => ({ name: 'work', data: {}, opts: { jobId: `n${at}` } })),
    );
    await network.refuse();
    const child = await start('killed.mjs', ['left', `${redis.port}`, file]);
    await child.printed('ready', 30_000);
    await waitFor(async () => ((await queue.getJobCounts('completed')).completed ?? 0) > 100, { timeout: 20_000 });
    child.kill('SIGKILL');
    await child.ended();
    const known = readFileSync(file, 'utf8').split('\n').filter(Boolean);
    expect(brain.events).toEqual([]);
    await network.trouble();
    const legacy = { first: 10, every: 100, grace: 0 };
    const { token } = brain;
    await sibling.connect({ token, hmacSecret: brain.env.Z4J_HMAC_SECRET, brainUrl: network.url }, { legacy });
    const missing = (): string[] => {
      const has = new Set(brain.events.map(({ kind, taskId }) => `${kind} ${taskId}`));
      return known.filter((line) => !has.has(line));
    };
    await brain.until(() => missing().length === 0, 20_000).catch(() => undefined);
    expect(missing()).toEqual([]);
    await waitFor(() => sibling.kept === 0);
    await queue.close();
    await sibling.close();
  });
});
