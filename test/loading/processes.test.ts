import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type StubBrain, stubBrain } from '../../src/testing/index.js';
import { type Child, runChild } from '../support/child.js';
import { type Redis, startRedis } from '../support/redis.js';
import { installTarget, target } from '../support/targets.mjs';
import { MAIN } from './fixtures.mjs';
import { run, stage } from './run.mjs';

const MINUTE = 60_000;
let libraries: string;
let redis: Redis;

beforeAll(async () => {
  [libraries, redis] = await Promise.all([installTarget('loading-main', MAIN), startRedis()]);
});
afterAll(() => redis?.stop());

/** Runs one task at once, and stays. */
const work = `
  import { createTask } from 'node-cron';
  const work = (name) => createTask('0 0 1 1 *', () => name, { name }).execute();
  setInterval(() => undefined, 1000);`;

const start = (brain: StubBrain, source: string): Promise<Child> =>
  runChild({ target: libraries, program: { source, name: 'program.mjs' }, env: { ...brain.env, REDIS: redis.url } });

const finished = ({ events }: StubBrain): unknown[] =>
  events.filter(({ eventType }) => eventType === 'task_succeeded').map(({ data }) => data.result);

const agents = ({ hellos }: StubBrain): number => new Set(hellos.map(({ workerId }) => workerId)).size;

/** Every agent that there will ever be has reported when the last of its tasks has. */
async function settled(brain: StubBrain, results: readonly unknown[]): Promise<void> {
  await brain.until(() => finished(brain).length >= results.length, MINUTE);
  expect(finished(brain).toSorted()).toEqual(results.toSorted());
}

describe('an agent in each process and thread that works', () => {
  test('worker threads', { timeout: 2 * MINUTE }, async () => {
    await using brain = await stubBrain();
    await using child = await start(
      brain,
      `${work}
      import { isMainThread, Worker } from 'node:worker_threads';
      if (isMainThread) for (const _ of [1, 2]) new Worker(new URL(import.meta.url));
      await work(isMainThread ? 'main' : 'thread');`,
    );
    await settled(brain, ['main', 'thread', 'thread']);
    expect(agents(brain)).toBe(3);
    expect(child.stderr()).toBe('');
  });

  test('fork', { timeout: 2 * MINUTE }, async () => {
    await using brain = await stubBrain();
    await using child = await start(
      brain,
      `${work}
      import { fork } from 'node:child_process';
      import { fileURLToPath } from 'node:url';
      const isChild = process.argv[2] === 'child';
      if (!isChild) fork(fileURLToPath(import.meta.url), ['child']);
      await work(isChild ? 'child' : 'parent');`,
    );
    await settled(brain, ['child', 'parent']);
    expect(agents(brain)).toBe(2);
    expect(child.stderr()).toBe('');
  });

  test('cluster: a primary that only supervises has none', { timeout: 2 * MINUTE }, async () => {
    await using brain = await stubBrain();
    await using child = await start(
      brain,
      `${work}
      import cluster from 'node:cluster';
      if (cluster.isPrimary) for (const _ of [1, 2]) cluster.fork();
      else await work('member');`,
    );
    await settled(brain, ['member', 'member']);
    expect(agents(brain)).toBe(2);
    expect(child.stderr()).toBe('');
  });
});

describe('none in helpers', () => {
  test.each([false, true])('BullMQ sandboxes, in threads: %s', { timeout: 2 * MINUTE }, async (threads) => {
    await using brain = await stubBrain();
    await using child = await start(
      brain,
      `import { writeFileSync } from 'node:fs';
      import { fileURLToPath } from 'node:url';
      import { Queue, Worker } from 'bullmq';
      const { hostname, port } = new URL(process.env.REDIS);
      const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null };
      const processor = fileURLToPath(new URL('processor.cjs', import.meta.url));
      writeFileSync(processor, 'module.exports = async (job) => job.data.n * 2;');
      const name = 'sandbox-${threads}';
      new Worker(name, processor, { connection, useWorkerThreads: ${threads} });
      const queue = new Queue(name, { connection });
      for (const n of [1, 2, 3]) await queue.add('double', { n });`,
    );
    await settled(brain, [2, 4, 6]);
    expect(agents(brain)).toBe(1);
    expect(brain.events.filter(({ eventType }) => eventType === 'task_started')).toHaveLength(3);
    expect(child.stderr()).toBe('');
  });

  test('forked jobs of Agenda', { timeout: 2 * MINUTE }, async () => {
    await using brain = await stubBrain();
    await using child = await runChild({
      target: await target('agenda-6.2.6'),
      env: { ...brain.env, REDIS: redis.url },
      program: {
        name: 'forking.mjs',
        source: `
          import { fileURLToPath } from 'node:url';
          import { RedisBackend } from '@agendajs/redis-backend';
          import { Agenda } from 'agenda';
          const [, , forked, id] = process.argv;
          const agenda = new Agenda({
            backend: new RedisBackend({ connectionString: process.env.REDIS }),
            processEvery: 200,
            ...(forked ? { forkedWorker: true } : { forkHelper: { path: fileURLToPath(import.meta.url), options: {} } }),
          });
          agenda.define('forked', async () => undefined);
          if (forked) {
            await agenda.ready;
            await agenda.runForkedJob(id);
            process.exit();
          }
          await agenda.start();
          await agenda.create('forked', {}).forkMode(true).schedule(new Date()).save();`,
      },
    });
    await brain.waitFor({ eventType: 'task_succeeded' }, MINUTE);
    const kinds = brain.events.filter(({ taskId }) => taskId !== '').map(({ eventType }) => eventType);
    expect(kinds.toSorted()).toEqual(['task_received', 'task_sent', 'task_started', 'task_succeeded']);
    expect(agents(brain)).toBe(1);
    expect(child.stderr()).toBe('');
  });

  test('node-cron background tasks', { timeout: 2 * MINUTE }, async () => {
    await using brain = await stubBrain();
    await using child = await start(
      brain,
      `import { writeFileSync } from 'node:fs';
      import { schedule } from 'node-cron';
      writeFileSync(new URL('background.mjs', import.meta.url), 'export const task = () => 7;');
      schedule('* * * * * *', './background.mjs', { name: 'background' });`,
    );
    await brain.until(() => finished(brain).length > 0, MINUTE);
    expect(finished(brain)[0]).toBe(7);
    expect(agents(brain)).toBe(1);
    expect(child.stderr()).toBe('');
  });
});

describe('PM2', () => {
  test('fork and cluster mode', { timeout: 4 * MINUTE }, async () => {
    const folder = await stage('pm2');
    const brain = await stubBrain();
    const pm2 = (...args: string[]): ReturnType<typeof run> =>
      run(process.execPath, [join(folder, '../node_modules/pm2/bin/pm2'), ...args], {
        cwd: folder,
        env: { PM2_HOME: join(folder, '.pm2'), Z4J_HOME: join(folder, '.z4j') },
      });
    try {
      await writeFile(
        join(folder, 'app.cjs'),
        `const { createTask } = require('node-cron');
        createTask('0 0 1 1 *', () => process.env.MODE, { name: 'yearly' }).execute();
        setInterval(() => undefined, 1000);`,
      );
      const app = { script: 'app.cjs', cwd: folder, node_args: '--import @z4j/bare/register' };
      const env = { ...brain.env, Z4J_HOME: join(folder, '.z4j') };
      const apps = ['fork', 'cluster'].map((mode) => ({
        ...app,
        name: mode,
        exec_mode: mode,
        env: { ...env, MODE: mode },
      }));
      await writeFile(join(folder, 'apps.config.cjs'), `module.exports = ${JSON.stringify({ apps })};`);
      const started = await pm2('start', 'apps.config.cjs');
      expect(started).toMatchObject({ code: 0 });
      await settled(brain, ['cluster', 'fork']);
      expect(agents(brain)).toBe(2);
    } finally {
      await pm2('kill');
      await brain.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  });
});
