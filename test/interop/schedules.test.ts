import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../../src/agent.js';
import { type BrainProject, hasBrain, type MintedAgent } from '../support/brain.js';
import { MemoryEngine, operator, schedulesOf, watchRows } from '../support/schedules.js';
import { sharedBrain } from '../support/shared-brain.js';

/** One story: the tests build upon each other. */
describe.runIf(hasBrain())('schedules of an engine in a live brain', () => {
  let home: string;
  let project: BrainProject;
  let minted: MintedAgent;
  let rest: ReturnType<typeof operator>;
  let agent: Agent;
  let engine = new MemoryEngine();

  const connect = async (at = home): Promise<Agent> => {
    const { token, secret, env } = minted;
    const made = new Agent({
      token,
      hmacSecret: secret,
      brainUrl: env.Z4J_BRAIN_URL,
      projectId: project.slug,
      serviceName: 'shop',
      agentName: 'depot',
      home: at,
      logLevel: 'silent',
    });
    made.registerEngine(engine);
    return made.start();
  };

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'z4j-schedules-'));
    project = await sharedBrain('schedules');
    minted = await project.mintAgent('depot');
    rest = operator(project);
    engine.define('nightly', { kind: 'cron', expression: '0 3 * * *', timezone: 'Europe/Oslo', args: [1, 'x'] });
    engine.define('tick', { expression: '30', kwargs: { ratio: 0.5 }, queue: 'reports' });
    agent = await connect();
  });

  afterAll(async () => {
    await agent?.stop();
    await rm(home, { recursive: true, force: true });
  });

  test('rows appear as the engine has them, with what can be done', async () => {
    await rest.names(['nightly', 'tick']);
    expect(await rest.row('nightly')).toMatchObject({
      engine: 'memory',
      scheduler: 'shop-memory',
      task_name: 'report',
      kind: 'cron',
      expression: '0 3 * * *',
      timezone: 'Europe/Oslo',
      args: [1, 'x'],
      is_enabled: true,
      total_runs: 0,
      source: 'memory:code',
    });
    expect(await rest.row('tick')).toMatchObject({ kind: 'interval', kwargs: { ratio: 0.5 }, queue: 'reports' });
    const capabilities = await project.rest.get(`/projects/${project.slug}/schedules/native-capabilities`);
    expect(capabilities['shop-memory']).toEqual(expect.arrayContaining([...engine.scheduler.operations]));
  });

  test('every operation reaches the engine, and the brain believes the answer', async () => {
    await rest.press('tick', 'disable');
    await rest.until('tick', (row) => row?.is_enabled === false && row.next_run_at === null);
    expect(engine.schedules.get('tick')?.enabled).toBe(false);
    await rest.press('tick', 'enable');
    await rest.until('tick', (row) => row?.is_enabled === true);
    await rest.press('tick', 'trigger');
    await rest.until('tick', (row) => row?.total_runs === 1);
    expect(engine.runs).toEqual(['tick']);
    const definition = { name: 'made', task_name: 'report', kind: 'cron', expression: '*/5 * * * *', timezone: 'UTC' };
    const more = { args: [1.0, 'é€'], kwargs: { ratio: 0.1, big: 1e21 }, is_enabled: true };
    const applied = { status: 'APPLIED', error: null };
    expect(await rest.native('create', undefined, { ...definition, ...more })).toMatchObject(applied);
    expect(await rest.native('update', 'made', { expression: '*/7 * * * *' })).toMatchObject(applied);
    expect(engine.schedules.get('made')).toMatchObject({ expression: '*/7 * * * *', kwargs: { ratio: 0.1 } });
    expect(await rest.native('trigger', 'made')).toMatchObject(applied);
    expect(await rest.native('delete', 'made')).toMatchObject(applied);
    await rest.names(['nightly', 'tick']);
  });

  test('an operation that fails says why and harms nothing', async () => {
    const twice = { name: 'tick', task_name: 'report', kind: 'interval', expression: '5', timezone: 'UTC' };
    const made = { ...twice, args: [], kwargs: {}, is_enabled: true };
    const failed = await rest.native('create', undefined, made).catch((error: Error) => ({ error: error.message }));
    expect(JSON.stringify(failed)).toMatch(/already|exists|409/i);
    expect(await rest.native('update', 'tick', { expression: '31' })).toMatchObject({ status: 'APPLIED' });
  });

  test('a resync and a run of its own move the figures', async () => {
    engine.ran('nightly');
    engine.changed();
    await rest.until('nightly', (row) => row?.total_runs === 1 && row.last_run_at !== null);
  });

  test('an e-mail address, a password and sixty levels are no trap', async () => {
    const secret = 'hunter2-9f3a';
    let deep: unknown = ['end'];
    for (let i = 0; i < 70; i++) deep = [deep];
    engine.define('secret', {
      args: ['ada@example.com', { user: 'ada', password: secret }, deep],
      kwargs: { note: 'x'.repeat(9000), url: `postgres://shop:${secret}@db/orders` },
    });
    engine.define('mail to bob@example.com');
    await rest.until('secret', (row) => row !== undefined);
    const names = (await schedulesOf(project)).map(({ name }) => name);
    expect(names).toHaveLength(4);
    const hidden = names.find((name) => !['nightly', 'tick', 'secret'].includes(name));
    await rest.press(hidden, 'disable');
    await rest.until(hidden, (row) => row?.is_enabled === false);
    expect(engine.schedules.get('mail to bob@example.com')?.enabled).toBe(false);
    const everything = await project.everything();
    expect(everything).not.toContain(secret);
    expect(everything).not.toMatch(/(ada|bob)@example/);
  });

  test('two hundred schedules are one inventory; one that is gone while nobody looked goes', async () => {
    const watched = watchRows(project, ['nightly', 'tick']);
    const many = Array.from({ length: 200 }, (_, i) => `s-${String(i).padStart(3, '0')}`);
    const others = (await schedulesOf(project)).map(({ name }) => name);
    for (const name of many) engine.define(name, { args: [name, 'ünïcode €'] });
    await rest.names([...many, ...others], 60_000);
    await agent.stop();
    const before = engine;
    engine = new MemoryEngine();
    for (const [name, schedule] of before.schedules) {
      if (!name.startsWith('s-') && name !== 'secret') engine.define(name, schedule);
    }
    for (const name of many.slice(0, 3)) engine.define(name);
    agent = await connect();
    const hidden = (await schedulesOf(project)).find(({ name }) => name.includes('REDACTED'))?.name;
    await rest.names(['nightly', 'tick', hidden, ...many.slice(0, 3)], 60_000);
    expect(await watched.stop()).toEqual([]);
  });

  test('a process without its home goes on under another name', async () => {
    await agent.stop();
    const lost = await mkdtemp(join(tmpdir(), 'z4j-schedules-'));
    try {
      engine = new MemoryEngine();
      engine.define('fresh');
      agent = await connect(lost);
      const row = await rest.until('fresh', (each) => each !== undefined, 60_000);
      expect(row.scheduler).toBe('shop-memory-2');
      await rest.press('fresh', 'disable');
      await rest.until('fresh', (each) => each?.is_enabled === false);
      await agent.stop();
    } finally {
      await rm(lost, { recursive: true, force: true });
    }
  });
});
