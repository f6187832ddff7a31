import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stubBrain } from '../../src/testing/index.js';
import { runChild } from '../support/child.js';
import { type Redis, startRedis } from '../support/redis.js';
import { target } from '../support/targets.mjs';

/** The agent started in code after a static import of the library, as README shows it. */
const PROGRAM = `
import { Agent } from '${pathToFileURL('dist/src/index.js').href}';
import { BullMQEngine } from '${pathToFileURL('dist/instrumentations/bullmq/index.js').href}';
import { Queue, Worker } from 'bullmq';

const connection = { host: '127.0.0.1', port: Number(process.env.REDIS_PORT) };
const agent = new Agent({ agentName: 'h' });
agent.registerEngine(new BullMQEngine({ connection, prefix: 'billing', namespace: 'billing' }));
await agent.start();
const done = [];
const made = [];
for (const prefix of [undefined, 'billing']) {
  const options = { connection, ...(prefix ? { prefix } : {}) };
  const worker = new Worker('mail', async (job) => ({ sent: job.data.to }), options);
  const queue = new Queue('mail', options);
  done.push(new Promise((resolve) => worker.on('completed', resolve)));
  await queue.add('welcome', { to: 'Ada' });
  made.push(worker, queue);
}
await Promise.all(done);
await Promise.all(made.map((one) => one.close()));
console.log(JSON.stringify(agent.targets().map(({ package: name, eye, outcome }) => [name, eye, outcome])));
await agent.stop();
`;

let redis: Redis;
let home: string;

beforeAll(async () => {
  redis = await startRedis();
  home = mkdtempSync(join(tmpdir(), 'z4j-in-code-'));
});

afterAll(async () => {
  await redis.stop();
  rmSync(home, { recursive: true, force: true });
});

describe('an agent started in code', () => {
  test('observes a library that was imported before, with an engine for each namespace', async () => {
    await using stub = await stubBrain();
    await using child = await runChild({
      target: await target('bullmq-6.7.0'),
      program: { source: PROGRAM, name: 'program.mjs' },
      register: false,
      env: { ...stub.env, REDIS_PORT: String(redis.port), Z4J_HOME: home },
    });
    expect(await child.ended()).toEqual({ code: 0, signal: null });
    expect(child.stderr()).toBe('');
    expect(JSON.parse(child.stdout())).toEqual([['bullmq', 'cache', 'patched']]);
    const tasks = stub.tasks().map(({ engine, taskId, state, result }) => ({ engine, taskId, state, result }));
    expect(tasks).toEqual([
      { engine: 'bullmq', taskId: 'mail:1', state: 'success', result: { sent: 'Ada' } },
      { engine: 'bullmq-billing', taskId: 'billing:mail:1', state: 'success', result: { sent: 'Ada' } },
    ]);
    expect(
      stub
        .workers()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['h:billing:mail', 'h:mail']);
  });
});
