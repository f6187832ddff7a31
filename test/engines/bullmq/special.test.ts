import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stubBrain } from '../../../src/testing/index.js';
import { runChild } from '../../support/child.js';
import { startPostgres } from '../../support/postgres.js';
import { type Redis, startRedis } from '../../support/redis.js';
import { installTarget } from '../../support/targets.mjs';
import { fresh, play, targetOf, VERSIONS } from './play.js';

let redis: Redis;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

describe.each(['5.16.0', '5.34.6', '5.40.0'])('job schedulers of bullmq %s', (version) => {
  it('tells the iterations under the ids the worker gets', async () => {
    const result = await play({ version, mode: 'cjs', port: await fresh(redis.port), scenarios: ['scheduler'] });
    expect(result.outcomes.scheduler?.error).toBeUndefined();
    expect(result.warnings).toEqual([]);
    const sequences = Object.values(result.sequences('scheduler'));
    expect(sequences.filter((sequence) => sequence !== 's r x ok' && sequence !== 's r')).toEqual([]);
    expect(sequences.filter((sequence) => sequence === 's r x ok')).toHaveLength(3);
  });
});

describe('ways to load', () => {
  it('patches every copy, and each once', async () => {
    const env = { TEST_OTHER: await targetOf('4.18.3') };
    const result = await play({
      version: '6.7.0',
      mode: 'esm',
      port: await fresh(redis.port),
      scenarios: ['twoCopies'],
      env,
    });
    expect(result.sequences('twoCopies')).toEqual({ 1: 's r x ok' });
    expect(result.sequences('twoCopies-other')).toEqual({ 1: 's r x ok' });
  });

  it.each(VERSIONS)('reaches live instances of %s by a late sweep', async (version) => {
    const env = { TEST_LATE: '1' };
    const result = await play({ version, mode: 'esm', port: await fresh(redis.port), scenarios: ['late'], env });
    expect(result.sequences('late')).toEqual({ 2: 's r x ok' });
    expect(result.events.filter(({ kind }) => kind === 'worker.online')).toHaveLength(1);
  });

  it.each(VERSIONS)('sees classes of %s that are loaded past the entry', async (version) => {
    const result = await play({ version, mode: 'cjs', port: await fresh(redis.port), scenarios: ['deep'] });
    expect(result.sequences('deep')).toEqual({ 1: 's r x ok' });
  });
});

describe.each(VERSIONS)('a process of %s that only adds flows', (version) => {
  it('tells of them', async () => {
    await using brain = await stubBrain();
    await using child = await runChild({
      target: await targetOf(version),
      program: fileURLToPath(new URL('./flows-only.cjs', import.meta.url)),
      args: [String(await fresh(redis.port))],
      env: brain.env,
    });
    expect((await child.ended(30_000)).code, child.stderr()).toBe(0);
    await brain.until(() => brain.tasks().length === 2);
    expect(brain.tasks()).toMatchObject([
      { taskId: 'top:root', rootTaskId: null },
      { taskId: 'below:leaf', parentTaskId: 'top:root', rootTaskId: 'top:root' },
    ]);
  });
});

describe('trouble', () => {
  it('hands the error of a broker that refuses to the host, and tells nothing', async () => {
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(redis.port)] });
    try {
      const result = await play({ version: '6.7.0', mode: 'cjs', port: replica.port, scenarios: ['readonly'] });
      expect(result.outcomes.readonly?.value).toEqual({ message: expect.stringMatching(/READONLY/) });
      expect(result.events.filter(({ kind }) => kind.startsWith('task.'))).toEqual([]);
    } finally {
      await replica.stop();
    }
  });

  it('lets jobs run when nobody can take the events', async () => {
    const env = { TEST_SINK: 'throws' };
    const scenarios = ['plain', 'retries', 'flow', 'rateLimited'];
    const result = await play({ version: '6.7.0', mode: 'esm', port: await fresh(redis.port), scenarios, env });
    expect(Object.values(result.outcomes).filter(({ error }) => error)).toEqual([]);
    expect(result.exitCode).toBe(0);
    expect(result.warnings).toHaveLength(1);
  });
});

describe('backends of bullmq 6.7', () => {
  const scenarios = ['plain', 'retriesAtOnce', 'bulk', 'flow', 'scheduler'];
  let folder: string;

  beforeAll(async () => {
    folder = await installTarget('bullmq-backends', { bullmq: '6.7.0', redis: '6', pg: '8' });
  }, 120_000);

  async function check(backend: string, port: number): Promise<void> {
    const env = { TEST_BACKEND: backend };
    const result = await play({ version: '6.7.0', mode: 'cjs', port, folder, scenarios, env });
    expect(Object.entries(result.outcomes).filter(([, { error }]) => error)).toEqual([]);
    expect(Object.values(result.sequences('plain'))).toEqual(['s r x ok']);
    expect(Object.values(result.sequences('retriesAtOnce'))).toEqual(['s r x t x f']);
    expect(Object.values(result.sequences('bulk'))).toEqual(['s r x ok', 's r x ok']);
    expect(Object.values(result.sequences('flow'))).toEqual(['s r x ok']);
    expect(Object.values(result.sequences('flow-children'))).toEqual(['s r x ok', 's r x ok', 's r x ok']);
    const iterations = Object.values(result.sequences('scheduler'));
    expect(iterations.filter((sequence) => sequence === 's r x ok')).toHaveLength(3);
  }

  it('node-redis', async () => check('node-redis', await fresh(redis.port)));

  it('PostgreSQL', async () => {
    const postgres = await startPostgres();
    try {
      await check('postgres', postgres.port);
    } finally {
      await postgres.stop();
    }
  });
});
