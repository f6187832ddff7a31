import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasBrain } from '../support/brain.js';
import type { Child } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { watchRows } from '../support/schedules.js';
import { type CronService, startCrons } from './fixtures/crons.js';

const NAMES = ['every-second', 'monthly', 'nightly', 'retired'];

/** One story: the tests build upon each other. */
describe.runIf(hasBrain())('two workers of one scheduler in a live brain', () => {
  let service: CronService;
  let project: CronService['project'];
  let rest: CronService['rest'];
  let children: CronService['children'];
  let work: CronService['work'];

  const activations = (child: Child): number => child.stderr().split('schedule.external.activate').length - 1;
  const online = async (count: number): Promise<void> => {
    await waitFor(
      async () => (await project.agentWorkers()).filter(({ state }) => state === 'online').length === count,
      { timeout: 60_000 },
    );
  };
  /**
   * One more operation, and its end: over one that is under way when its process dies, a brain keeps the stream from
   * everybody else.
   */
  const settle = (expression: string): Promise<boolean> =>
    rest.native('update', 'monthly', { expression }).then(
      ({ status }) => status === 'APPLIED',
      () => false,
    );

  beforeAll(async () => {
    service = await startCrons('takeover');
    ({ project, rest, children, work } = service);
  });

  afterAll(() => service?.[Symbol.asyncDispose]());

  test('the standby publishes nothing', async () => {
    const first = await work();
    await rest.names(NAMES);
    const second = await work();
    await online(2);
    await rest.press('monthly', 'disable');
    await rest.until('monthly', (row) => row?.is_enabled === false);
    expect(await settle('0 5 1 * *')).toBe(true);
    expect(activations(first)).toBeGreaterThan(0);
    expect(activations(second), second.stderr()).toBe(0);
  });

  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'the other one goes on after %s; no row is ever away',
    async (signal) => {
      const holder = children.at(-2) as Child;
      const standby = children.at(-1) as Child;
      const watched = watchRows(project, NAMES);
      holder.kill(signal);
      await holder.ended();
      const what = (): string => standby.stderr().slice(-3000);
      await waitFor(() => activations(standby) > 0, { timeout: 100_000, interval: 100, what });
      // What an operator decided at the one that is gone.
      await rest.until('monthly', (row) => row?.is_enabled === false);
      await waitFor(() => settle('0 6 1 * *'), { timeout: 90_000, interval: 500, what });
      await rest.press('nightly', 'trigger');
      await waitFor(() => standby.stdout().includes('ran nightly '), { timeout: 20_000, what });
      await settle('0 5 1 * *');
      await rest.names(NAMES);
      expect(await watched.stop()).toEqual([]);
      expect(standby.stderr()).not.toContain('shop-node-cron-2');
      await work();
      await online(2);
    },
    300_000,
  );
});
