import { describe, expect, it } from 'vitest';
import type { Schedule } from '../../../src/engine.js';
import { canonical, rowText } from '../../../src/protocol/index.js';
import { Redactor } from '../../../src/redactor.js';
import { inventories } from '../../../src/schedules/rows.js';

const redactor = new Redactor();
const make = () => inventories('memory', 'shop-memory', (value) => redactor.redact(value));
const base: Schedule = {
  name: 'a',
  taskName: 'report',
  kind: 'cron',
  expression: '0 3 * * *',
  enabled: true,
  totalRuns: 0,
  source: 'memory:code',
};

describe('rows of an inventory', () => {
  it('print as they are, whatever their arguments look like', () => {
    const list = make();
    const traps = { last_run_at: null, next_run_at: null, total_runs: 0, text: '"last_run_at":null,"total_runs":0' };
    for (const figures of [{}, { lastRunAt: 1_790_000_000_123 }, { nextRunAt: 1_800_000_000_000, totalRuns: 7 }]) {
      const [row] = list([{ ...base, kwargs: traps, args: [traps], queue: '"next_run_at":null', ...figures }]).rows;
      if (row === undefined) throw new Error('no row');
      expect(rowText(row)).toBe(canonical({ ...row }));
      expect(JSON.parse(rowText(row)).kwargs).toEqual(traps);
    }
  });

  it('have times in microseconds, and none that is no time', () => {
    const figures = { lastRunAt: 1_790_000_000_123, nextRunAt: Number.NaN };
    expect(make()([{ ...base, ...figures }]).rows[0]).toMatchObject({
      last_run_at: '2026-09-21T14:13:20.123000+00:00',
      next_run_at: null,
    });
  });

  it('are the same objects while nothing changes, and new ones where something did', () => {
    const list = make();
    const kwargs = { deep: [1] };
    const first = list([
      { ...base, kwargs },
      { ...base, name: 'b' },
    ]).rows;
    const same = list([
      { ...base, kwargs: { deep: [1] } },
      { ...base, name: 'b' },
    ]).rows;
    expect(same[0]).toBe(first[0]);
    kwargs.deep[0] = 2;
    const changed = list([
      { ...base, kwargs },
      { ...base, name: 'b', totalRuns: 1 },
    ]).rows;
    expect(changed.map((row) => [row.kwargs, row.total_runs])).toEqual([
      [{ deep: [2] }, 0],
      [{}, 1],
    ]);
  });

  it('take what JSON cannot hold', () => {
    const circle: { self?: unknown } = {};
    circle.self = circle;
    const { rows, refused } = make()([{ ...base, args: [10n, circle, undefined, () => 1] }]);
    expect(refused).toEqual([]);
    expect(rows).toHaveLength(1);
  });

  it('say which schedule is refused and why', () => {
    const { rows, refused } = make()([
      base,
      base,
      { ...base, name: 'x'.repeat(201) },
      { ...base, name: 'c', totalRuns: -1 },
      { ...base, name: 'd', args: Array.from({ length: 200 }, () => 'x'.repeat(4000)) },
    ]);
    expect(rows.map(({ name }) => name)).toEqual(['a', 'd']);
    expect(rowText(rows[1] as never).length).toBeLessThan(300_000);
    expect(refused.map(({ reason }) => reason)).toEqual([
      'another schedule is shown under this name',
      'Expected `name` of the schedule to be at most 200 characters',
      'Expected `total_runs` of the schedule to be an integer of at least 0',
    ]);
  });
});
