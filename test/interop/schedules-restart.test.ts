import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasBrain } from '../support/brain.js';
import type { Child } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { watchRows } from '../support/schedules.js';
import { type CronService, startCrons } from './fixtures/crons.js';

const STAYING = ['nightly', 'monthly'];

/** One story: the tests build upon each other. */
describe.runIf(hasBrain())('node-cron in a live brain', () => {
  let service: CronService;
  let brain: CronService['brain'];
  let project: CronService['project'];
  let rest: CronService['rest'];
  let children: CronService['children'];
  let work: CronService['work'];

  const runsOf = (child: Child, name: string): number =>
    child
      .stdout()
      .split('\n')
      .filter((line) => line.startsWith(`ran ${name} `)).length;

  /** Resolves when the program has run so often from now on. */
  const ranAgain = async (child: Child, name: string, times = 1): Promise<void> => {
    const before = runsOf(child, name);
    await waitFor(() => runsOf(child, name) >= before + times, { timeout: 15_000, interval: 50 });
  };

  /** No run in two whole periods. */
  const isQuiet = async (child: Child, name: string): Promise<void> => {
    const before = runsOf(child, name);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(runsOf(child, name)).toBe(before);
  };

  beforeAll(async () => {
    service = await startCrons('crons');
    ({ brain, project, rest, children, work } = service);
  });

  afterAll(() => service?.[Symbol.asyncDispose]());

  test('rows with the next run, time zone and source', async () => {
    const child = await work();
    await rest.names(['every-second', 'monthly', 'nightly', 'retired']);
    const row = await rest.until('nightly', (each) => each?.next_run_at != null);
    expect(row).toMatchObject({
      engine: 'node-cron',
      scheduler: 'shop-node-cron',
      kind: 'cron',
      expression: '0 3 * * *',
      timezone: 'Europe/Oslo',
      is_enabled: true,
      source: 'node-cron:code',
    });
    const hour = new Date(`${row.next_run_at}Z`).toLocaleTimeString('en-GB', { timeZone: 'Europe/Oslo' });
    expect(hour).toBe('03:00:00');
    await rest.until('every-second', (each) => each?.total_runs > 0, 40_000);
    expect(child.stderr()).not.toMatch(/warn|error/);
  });

  test('disable stops the engine, enable starts it', async () => {
    const [child] = children as [Child];
    await ranAgain(child, 'every-second');
    await rest.press('every-second', 'disable');
    await rest.until('every-second', (row) => row?.is_enabled === false);
    await isQuiet(child, 'every-second');
    await rest.press('every-second', 'enable');
    await rest.until('every-second', (row) => row?.is_enabled === true);
    await ranAgain(child, 'every-second');
  });

  test('another expression moves the next run; a trigger is one run', async () => {
    const [child] = children as [Child];
    const before = (await rest.row('nightly'))?.next_run_at;
    expect(await rest.native('update', 'nightly', { expression: '15 6 * * *' })).toMatchObject({ status: 'APPLIED' });
    const row = await rest.until('nightly', (each) => each?.next_run_at !== before);
    const at = new Date(`${row.next_run_at}Z`).toLocaleTimeString('en-GB', { timeZone: 'Europe/Oslo' });
    expect(at).toBe('06:15:00');
    await rest.press('monthly', 'trigger');
    await rest.until('monthly', (each) => each?.total_runs === 1);
    expect(runsOf(child, 'monthly')).toBe(1);
  });

  test('create and delete', async () => {
    const definition = { name: 'made', task_name: 'nightly', kind: 'cron', expression: '* * * * * *', timezone: 'UTC' };
    expect(
      await rest.native('create', undefined, { ...definition, args: [], kwargs: {}, is_enabled: true }),
    ).toMatchObject({ status: 'APPLIED' });
    const [child] = children as [Child];
    await ranAgain(child, 'nightly');
    expect(await rest.row('made')).toMatchObject({ source: 'node-cron:operator', task_name: 'nightly' });
    expect(await rest.native('delete', 'retired')).toMatchObject({ status: 'APPLIED' });
    await rest.names(['every-second', 'made', 'monthly', 'nightly']);
  });

  test('what operators did outlives the process; nothing is ever missing', async () => {
    const [first] = children as [Child];
    await rest.press('every-second', 'disable');
    await rest.until('every-second', (row) => row?.is_enabled === false);
    const watched = watchRows(project, ['every-second', 'made', ...STAYING]);
    first.kill('SIGTERM');
    await first.ended();
    const second = await work({ EVERY: '*/2 * * * * *' });
    await ranAgain(second, 'nightly', 2);
    await rest.until('nightly', (row) => row?.expression === '15 6 * * *' && row.is_enabled);
    await rest.until('every-second', (row) => row?.is_enabled === false && row.expression === '*/2 * * * * *');
    await isQuiet(second, 'every-second');
    expect(runsOf(second, 'every-second')).toBe(0);
    await rest.names(['every-second', 'made', 'monthly', 'nightly']);
    expect(await rest.native('delete', 'made')).toMatchObject({ status: 'APPLIED' });
    await rest.names(['every-second', 'monthly', 'nightly']);
    expect((await watched.stop()).filter((missed) => !missed.endsWith('made'))).toEqual([]);
    await isQuiet(second, 'nightly');
  });

  test('kill -9 and a version without one of the schedules', async () => {
    const [, second] = children as [Child, Child];
    const watched = watchRows(project, ['nightly', 'monthly']);
    second.kill('SIGKILL');
    await second.ended();
    await work({ WITHOUT: 'every-second' });
    await rest.names(['monthly', 'nightly']);
    expect(await watched.stop()).toEqual([]);
  });

  test('two workers of one token: one row each, and what is decided at one is in force at the other', async () => {
    const third = children[2] as Child;
    const watched = watchRows(project, ['nightly', 'monthly']);
    const fourth = await work({ WITHOUT: 'every-second' });
    await waitFor(async () => (await project.agentWorkers()).filter(({ state }) => state === 'online').length === 2, {
      timeout: 30_000,
    });
    await rest.press('monthly', 'trigger');
    await rest.until('monthly', (row) => row?.total_runs === 1);
    expect(runsOf(third, 'monthly') + runsOf(fourth, 'monthly')).toBe(1);
    expect(await rest.native('update', 'nightly', { expression: '* * * * * *' })).toMatchObject({ status: 'APPLIED' });
    await ranAgain(third, 'nightly');
    await ranAgain(fourth, 'nightly');
    expect(await rest.native('update', 'nightly', { expression: '0 3 * * *' })).toMatchObject({ status: 'APPLIED' });
    await rest.names(['monthly', 'nightly']);
    expect(await watched.stop()).toEqual([]);
    fourth.kill('SIGTERM');
    await fourth.ended();
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'the stream goes on after the brain was ended by %s',
    async (signal) => {
      const activations = (): number => children[2]?.stderr().split('schedule.external.activate').length ?? 0;
      const before = activations();
      await brain.stop({ signal });
      await brain.start();
      const watched = watchRows(project, ['nightly', 'monthly']);
      await waitFor(async () => (await project.agent(service.minted.agentId)).state === 'online', { timeout: 60_000 });
      // At the second hello where the brain was killed over an operation whose end it had not yet stored.
      await waitFor(() => activations() > before, {
        timeout: 110_000,
        what: () => children[2]?.stderr().slice(-3000) ?? '',
      });
      // A killed brain does not know that nobody is there: what is asked of it before it does is lost.
      const press = async (): Promise<boolean> => {
        await rest.press('monthly', 'disable').catch(() => undefined);
        const isDisabled = async (): Promise<boolean> => (await rest.row('monthly'))?.is_enabled === false;
        return waitFor(isDisabled, { timeout: 4000, interval: 200 }).then(
          () => true,
          () => false,
        );
      };
      await waitFor(press, { timeout: 60_000, interval: 500, what: () => children[2]?.stderr().slice(-3000) ?? '' });
      await rest.press('monthly', 'enable');
      await rest.until('monthly', (row) => row?.is_enabled === true);
      expect(await watched.stop()).toEqual([]);
    },
    240_000,
  );
});
