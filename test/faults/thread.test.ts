import { beforeAll, describe, expect, test } from 'vitest';
import { type StubBrain, stubBrain } from '../../src/testing/index.js';
import { hasBrain, startBrain } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { operator } from '../support/schedules.js';
import { target } from '../support/targets.mjs';

let library: string;
beforeAll(async () => {
  library = await target('node-cron-4.6.0');
});

const start = (env: Readonly<Record<string, string>>, source: string): Promise<Child> =>
  runChild({ target: library, program: { source, name: 'program.mjs' }, env: { Z4J_SERVICE_NAME: 'app', ...env } });

/** `run(name)` runs one task; `block(ms)` stops the event loop. */
const HELPERS = `
  import { createTask } from 'node-cron';
  const run = (name, task = () => name) => createTask('0 0 1 1 *', task, { name }).execute();
  const block = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  const say = (...what) => console.log(...what);
  `;

const results = ({ events }: StubBrain): unknown[] =>
  events.filter(({ eventType }) => eventType === 'task_succeeded').map(({ data }) => data.result);

describe('a host that blocks its event loop', () => {
  const BLOCK_MS = 9000;
  const WORK = `${HELPERS}
    createTask('0 0 1 1 *', () => say('triggered'), { name: 'report' });
    await run('first');
    setInterval(() => undefined, 1000);
    process.once('SIGUSR2', async () => {
      await run('before');
      say('blocks', Date.now());
      block(${BLOCK_MS});
      say('free');
      await run('after');
    });
    say('ready');`;

  test('stays online, reports what was before, and refuses a command for good', async () => {
    await using brain = await stubBrain({ heartbeatSeconds: 1 });
    await using child = await start({ ...brain.env, Z4J_THREAD: '1' }, WORK);
    await child.printed('ready');
    await brain.until(() => results(brain).includes('first') && brain.heartbeats.length > 1, 15_000);
    child.kill('SIGUSR2');
    await child.printed('blocks');
    const before = brain.heartbeats.length;
    await brain.until(() => results(brain).includes('before'));
    const outcome = await brain.command(
      {
        action: 'schedule.fire',
        target: { type: 'schedule', id: 'x' },
        parameters: { engine: 'node-cron', task_name: 'report', fire_id: 'fire-1' },
      },
      { timeoutMs: 6000 },
    );
    expect(outcome).toMatchObject({ status: 'failed', acknowledged: true });
    expect(outcome.error).toMatch(/^host thread busy since \d{4}-\d\d-\d\dT[\d:.]+Z: /);
    const since = Date.parse(/since (\S+Z)/.exec(outcome.error ?? '')?.[1] ?? '');
    const blockedAt = Number(/blocks (\d+)/.exec(child.stdout())?.[1]);
    expect(Math.abs(since - blockedAt)).toBeLessThan(1000);
    await brain.until(() => brain.heartbeats.length >= before + 3);
    expect(brain.heartbeats.at(-1)).toMatchObject({ buffer_size: 0, dropped_events: 0 });
    expect(child.stdout()).not.toContain('free');
    await child.printed('free');
    await brain.until(() => results(brain).includes('after'));
    expect(child.stdout()).not.toContain('triggered');
    expect(brain.hellos).toHaveLength(1);
    expect(child.stderr()).toBe('');
    // Free again, it does what it is asked.
    await brain.until(() => brain.schedules('app-node-cron').length > 0, 15_000);
    const done = await brain.operate({ scheduler: 'app-node-cron', operation: 'trigger', schedule: 'report' });
    expect(done.error).toBeUndefined();
    await child.printed('triggered');
  });
});

/** A brain takes an agent for offline that was silent for 30 s, and looks every 10 s. With a length of one's own, to the end. */
const LIVE_BLOCK_MS = Number(process.env.BLOCK_SECONDS ?? 60) * 1000;

test.runIf(hasBrain())('a live brain sees the difference', async () => {
  const brain = await startBrain();
  try {
    const project = await brain.project('thread');
    const work = `${HELPERS}
      createTask('0 0 1 1 *', () => say('triggered'), { name: 'report-' + process.env.Z4J_THREAD });
      process.once('SIGUSR2', async () => {
        await run('before');
        say('blocks');
        block(${LIVE_BLOCK_MS});
        say('free');
      });
      setInterval(() => undefined, 1000);
      await run('first');`;
    const hosts = await Promise.all(
      ['0', '1'].map(async (thread) => {
        const { agentId, env } = await project.mintAgent(`thread-${thread}`);
        const service = `service-${thread}`;
        return {
          agentId,
          service,
          child: await start({ ...env, Z4J_THREAD: thread, Z4J_SERVICE_NAME: service }, work),
        };
      }),
    );
    try {
      const states = () =>
        Promise.all(hosts.map(async ({ agentId }) => (await project.agent(agentId)).state as string));
      await waitFor(async () => (await states()).every((state) => state === 'online'), {
        timeout: 30_000,
        interval: 500,
      });
      await operator(project).until('report-1', (row) => row !== undefined);
      for (const { child } of hosts) child.kill('SIGUSR2');
      await waitFor(async () => (await states())[0] === 'offline', { timeout: LIVE_BLOCK_MS - 5000, interval: 1000 });
      expect(await states()).toEqual(['offline', 'online']);
      // The other one's is in its journal still.
      const told = (await project.tasks()).filter(({ name }) => name === 'before');
      expect(told).toMatchObject([{ engine: 'node-cron', state: 'success', result: 'before' }]);
      const refused = await operator(project).native('trigger', 'report-1');
      expect(JSON.stringify(refused)).toMatch(/host thread busy since \d{4}-/);
      expect(hosts[1]?.child.stdout()).not.toContain('free');
      if (process.env.BLOCK_SECONDS === undefined) return;
      await hosts[1]?.child.printed('free', LIVE_BLOCK_MS);
      expect(await states()).toEqual(['offline', 'online']);
    } finally {
      for (const { child } of hosts) await child[Symbol.asyncDispose]();
    }
  } finally {
    await brain.dispose();
  }
});

describe('a process ends as it would have', () => {
  /** What the program does when it is told to, or a signal it gets. */
  const ENDS: Readonly<Record<string, string>> = {
    'by itself': 'clearInterval(alive);',
    'with a code of its own': 'process.exitCode = 3; clearInterval(alive);',
    'by an uncaught error': `throw new TypeError('of the host');`,
    'by process.exit': 'process.exit(4);',
    'by a signal': `process.kill(process.pid, 'SIGTERM');`,
    'by a signal it handles': `process.on('SIGTERM', () => { say('handled'); clearInterval(alive); });
      process.kill(process.pid, 'SIGTERM');`,
  };

  const end = async (thread: string, source: string) => {
    await using brain = await stubBrain();
    await using child = await start(
      { ...brain.env, Z4J_THREAD: thread },
      `${HELPERS}
      const alive = setInterval(() => undefined, 1000);
      process.once('SIGUSR2', () => { run('last'); ${source} });
      await run('one');`,
    );
    await brain.until(() => results(brain).includes('one') && brain.schedules().length > 0, 15_000);
    const begin = performance.now();
    child.kill('SIGUSR2');
    const { code, signal } = await child.ended();
    const ms = performance.now() - begin;
    // The brain hears of the end after us.
    await brain.until(() => brain.connections === 0);
    const output = (child.stdout() + child.stderr()).replaceAll(/run-\w+/g, '');
    const offline = brain.events.filter(({ kind }) => kind === 'worker.offline').length;
    return { ms, rest: { code, signal, output, offline, left: brain.connections, refusals: brain.refusals } };
  };

  test.each(Object.entries(ENDS))('%s', async (_, source) => {
    const plain = await end('0', source);
    const thread = await end('1', source);
    expect(thread.rest).toEqual(plain.rest);
    expect(thread.rest.left).toBe(0);
    expect(thread.ms - plain.ms).toBeLessThan(2000);
  });
});
