import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { nodeCronPatch } from '../../../instrumentations/node-cron/index.js';
import { defaultEngine as engineOf } from '../../../instrumentations/node-cron/operate.js';
import { Redactor } from '../../../src/redactor.js';
import { inventories } from '../../../src/schedules/rows.js';
import { installTarget } from '../../support/targets.mjs';

interface Task {
  destroy?(): void;
  stop(): void;
  getNextRun?(): Date | null;
}

interface Cron {
  schedule(expression: string, run: () => void, options: object): Task;
}

const redactor = new Redactor();
const rowsOf = inventories('node-cron', 'shop-node-cron', (value) => redactor.redact(value));

/** Moments shortly before the clocks go forward and back. */
const CHANGES = {
  'Europe/Oslo': ['2027-03-27T20:00:00Z', '2027-10-30T20:00:00Z'],
  'America/New_York': ['2027-03-13T20:00:00Z', '2027-11-06T20:00:00Z'],
  'Australia/Lord_Howe': ['2027-10-02T10:00:00Z', '2027-04-03T10:00:00Z'],
} as const;
const EXPRESSIONS = [
  '0 3 * * *',
  '30 2 * * *',
  '30 1 * * *',
  '*/20 * * * *',
  '*/7 * * * * *',
  '15 30 2 * * *',
  '0 0 31 * *',
  '0 12 29 2 *',
  '0 9 * * 1-5',
];
const CASES = Object.entries(CHANGES).flatMap(([zone, moments]) =>
  moments.flatMap((moment) => EXPRESSIONS.map((expression) => [expression, zone, moment] as const)),
);

describe('next runs at a change of clocks', () => {
  let cron: Cron;
  let old: Cron;
  const tasks: Task[] = [];

  const load = async (version: string): Promise<Cron> => {
    const folder = await installTarget(`node-cron-${version}`, { 'node-cron': version });
    const exports = createRequire(join(folder, 'package.json'))('node-cron') as Cron;
    expect(nodeCronPatch.patch(exports, { package: 'node-cron', version, file: '' })).toBe(true);
    return exports;
  };

  /** The time in the row that a brain would be sent. */
  const shown = async (name: string): Promise<string | null> => {
    const { rows } = rowsOf(await engineOf().scheduler.list());
    return rows.find((row) => row.name === name)?.next_run_at ?? null;
  };

  beforeAll(async () => {
    [cron, old] = [await load('4.6.0'), await load('3.0.3')];
    vi.useFakeTimers({ toFake: ['Date'] });
  });
  afterEach(() => {
    for (const task of tasks.splice(0)) (task.destroy ?? task.stop).call(task);
  });
  afterAll(() => {
    vi.useRealTimers();
  });

  test.each(CASES)('%s in %s from %s on', async (expression, timezone, moment) => {
    vi.setSystemTime(moment);
    const name = `${expression} ${timezone} ${moment}`;
    // Several in a row, so that the change lies between them.
    for (let i = 0; i < 4; i++) {
      const task = cron.schedule(expression, () => {}, { name: `${name} ${i}`, timezone });
      tasks.push(task);
      const own = task.getNextRun?.();
      const row = await shown(`${name} ${i}`);
      expect(Date.parse(row ?? '')).toBe(own?.getTime());
      vi.setSystemTime((own?.getTime() ?? 0) + 1);
    }
  });

  test('the next run of node-cron 3, which does not tell it, shows the same on the clock as that of 4', async () => {
    const different: string[] = [];
    for (const [expression, timezone, moment] of CASES) {
      vi.setSystemTime(moment);
      const name = `old ${expression} ${timezone} ${moment}`;
      const task = cron.schedule(expression, () => {}, { name: `new ${name}`, timezone });
      tasks.push(
        task,
        old.schedule(expression, () => {}, { name, timezone }),
      );
      // In an hour that comes twice 3 runs at its first coming, since it looks at the clock every second.
      const clock = (at: Date | null | undefined): string =>
        (at ?? new Date(0)).toLocaleString('en', { timeZone: timezone });
      const own = task.getNextRun?.();
      const row = new Date((await shown(name)) ?? 0);
      if (clock(own) !== clock(row)) different.push(`${name}: ${row.toISOString()} instead of ${own?.toISOString()}`);
    }
    expect(different).toEqual([]);
  });

  test('well-known moments', async () => {
    const table = [
      ['0 3 * * *', 'Europe/Oslo', '2027-03-27T20:00:00Z', '2027-03-28T01:00:00.000000+00:00'],
      ['0 3 * * *', 'Europe/Oslo', '2027-10-30T20:00:00Z', '2027-10-31T02:00:00.000000+00:00'],
      ['0 0 31 * *', 'UTC', '2027-04-01T00:00:00Z', '2027-05-31T00:00:00.000000+00:00'],
      ['0 12 29 2 *', 'UTC', '2027-03-01T00:00:00Z', '2028-02-29T12:00:00.000000+00:00'],
      ['*/7 * * * * *', 'UTC', '2027-03-01T00:00:55Z', '2027-03-01T00:00:56.000000+00:00'],
    ] as const;
    for (const [expression, timezone, moment, next] of table) {
      vi.setSystemTime(moment);
      const name = `known ${expression} ${moment}`;
      tasks.push(cron.schedule(expression, () => {}, { name, timezone }));
      expect(await shown(name)).toBe(next);
    }
  });
});
