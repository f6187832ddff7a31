import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BrainProject, hasBrain, type MintedAgent } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type Redis, startRedis } from '../support/redis.js';
import { operator, schedulesOf, watchRows } from '../support/schedules.js';
import { sharedBrain } from '../support/shared-brain.js';
import { installTarget } from '../support/targets.mjs';

const PROGRAM = fileURLToPath(new URL('./fixtures/three.mjs', import.meta.url));
const TARGET = {
  bullmq: '6.7.0',
  ioredis: '5',
  agenda: '6.2.6',
  '@agendajs/redis-backend': '3.0.7',
  'node-cron': '4.6.0',
};
const STAYING = ['tidy', 'reports:daily', 'digest'];

describe.runIf(hasBrain())('a host of three engines in a live brain', () => {
  let homes: string[];
  let target: string;
  let redis: Redis;
  let project: BrainProject;
  let minted: MintedAgent;
  let rest: ReturnType<typeof operator>;
  const children: Child[] = [];

  const work = async (home: string, env: Readonly<Record<string, string>> = {}): Promise<Child> => {
    const settings = { Z4J_SERVICE_NAME: 'shop', Z4J_AGENT_NAME: 'depot', Z4J_HOME: home, REDIS_URL: redis.url };
    const child = await runChild({ target, program: PROGRAM, env: { ...minted.env, ...settings, ...env } });
    children.push(child);
    await child.printed('defined', 40_000);
    return child;
  };

  beforeAll(async () => {
    homes = await Promise.all([0, 1].map(() => mkdtemp(join(tmpdir(), 'z4j-schedules-'))));
    [target, redis, project] = await Promise.all([
      installTarget('three-engines', TARGET),
      startRedis(),
      sharedBrain('three'),
    ]);
    minted = await project.mintAgent('depot');
    rest = operator(project);
  });

  afterAll(async () => {
    for (const child of children) await child[Symbol.asyncDispose]();
    await redis?.stop();
    for (const home of homes) await rm(home, { recursive: true, force: true });
  });

  test('three schedulers, each with its own rows and next runs', async () => {
    await work(homes[0] as string);
    await rest.names([...STAYING, 'reports:weekly'], 60_000);
    const rows = await schedulesOf(project);
    const owners = Object.fromEntries(rows.map(({ name, engine, scheduler }) => [name, [engine, scheduler]]));
    expect(owners).toEqual({
      tidy: ['node-cron', 'shop-node-cron'],
      'reports:daily': ['bullmq', 'shop-bullmq'],
      'reports:weekly': ['bullmq', 'shop-bullmq'],
      digest: ['agenda', 'shop-agenda'],
    });
    for (const { next_run_at } of rows) expect(next_run_at).not.toBeNull();
  });

  test.each([
    ['node-cron', 'tidy'],
    ['bullmq', 'reports:daily'],
    ['agenda', 'digest'],
  ])('%s: trigger, disable, edit, enable, and no other row moves', async (engine, name) => {
    const [child] = children as [Child];
    const others = STAYING.filter((each) => each !== name);
    const before = (await schedulesOf(project)).filter((row) => others.includes(row.name));
    await rest.press(name, 'trigger');
    await child.printed(`ran ${engine}`);
    await rest.press(name, 'disable');
    await rest.until(name, (row) => row?.is_enabled === false);
    expect(await rest.native('update', name, { expression: '30 6 * * *' })).toMatchObject({ status: 'APPLIED' });
    await rest.press(name, 'enable');
    const row = await rest.until(name, (each) => each?.is_enabled && each.next_run_at !== null);
    expect(row).toMatchObject({ expression: '30 6 * * *' });
    expect(child.stdout().split(`ran ${engine}`)).toHaveLength(2);
    const settings = ({ name: of, expression, is_enabled, next_run_at }: (typeof before)[number]) => [
      of,
      expression,
      is_enabled,
      next_run_at,
    ];
    const after = (await schedulesOf(project)).filter((each) => others.includes(each.name));
    expect(after.map(settings)).toEqual(before.map(settings));
  });

  test('workers that close take no row with them; what is gone afterwards goes, also without the old home', async () => {
    const [first] = children as [Child];
    const watched = watchRows(project, STAYING);
    first.kill('SIGTERM');
    await first.ended();
    // Another home: the brokers remember. node-cron has none, and starts with what it has.
    await work(homes[1] as string, { WITHOUT: 'weekly' });
    await waitFor(async () => !(await schedulesOf(project)).some(({ name }) => name === 'reports:weekly'), {
      timeout: 60_000,
      interval: 200,
      what: () => children[1]?.stderr() ?? '',
    });
    await rest.names(STAYING);
    expect(await watched.stop()).toEqual([]);
    expect(children[1]?.stderr()).toBe('');
    await rest.press('digest', 'disable');
    await rest.until('digest', (row) => row?.is_enabled === false);
  });
});
