import { describe, expect, it } from 'vitest';
import type { Attrs } from '../../../instrumentations/agenda/foreign.js';
import {
  madeAt,
  partsOf,
  planOf,
  priorityLabel,
  priorityNumber,
  stateOf,
  taskId,
} from '../../../instrumentations/agenda/map.js';
import { dataOf, specOf } from '../../../instrumentations/agenda/plan.js';

const job = (more: Partial<Attrs> = {}): Attrs => ({ _id: '6b07baabfb91a9491bb2005e', name: 'x', ...more });
const ago = (ms: number): Date => new Date(Date.now() - ms);

describe('task ids', () => {
  it('are the id of the job, and of its run where the job recurs', () => {
    const lastRunAt = new Date(1_795_668_652_036);
    expect(taskId(job({ lastRunAt }))).toBe('6b07baabfb91a9491bb2005e');
    const id = taskId(job({ lastRunAt, repeatInterval: '1 hour' }));
    expect(id).toBe('6b07baabfb91a9491bb2005e:1795668652036');
    expect(partsOf(id)).toEqual({ id: '6b07baabfb91a9491bb2005e', lastRunAt: 1_795_668_652_036 });
    expect(partsOf('a:b')).toEqual({ id: 'a:b', lastRunAt: undefined });
  });

  it('fit into what a brain can store', () => {
    const id = taskId(job({ _id: `a/${'b'.repeat(300)}` }));
    expect(id.length).toBeLessThanOrEqual(200);
    expect(id).not.toContain('/');
    expect(id).not.toBe(taskId(job({ _id: `a/${'b'.repeat(301)}` })));
  });

  it('tell when the job was made, the same in every process', () => {
    const second = 0x6b07baab * 1000;
    expect(madeAt(job(), second + 250)).toBe(second + 250);
    expect(madeAt(job(), second + 1700)).toBe(second);
    expect(madeAt(job({ _id: 'c0ffee' }), 5)).toBe(5);
    expect(madeAt(job({ _id: '000000000000000000000000' }), second)).toBe(second);
  });
});

describe('states', () => {
  it.each<[string, Partial<Attrs>]>([
    ['queued', { nextRunAt: ago(10) }],
    ['scheduled', { nextRunAt: ago(-10_000) }],
    ['paused', { nextRunAt: ago(10), disabled: true }],
    ['reserved', { lockedAt: ago(10), nextRunAt: ago(5) }],
    ['reserved', { lockedAt: ago(10), lastRunAt: ago(100), lastFinishedAt: ago(90) }],
    ['running', { lockedAt: ago(10), lastRunAt: ago(10), lastFinishedAt: ago(90) }],
    ['stalled', { lockedAt: ago(700_000), lastRunAt: ago(700_000) }],
    ['failed', { failedAt: ago(10), lastFinishedAt: ago(10), nextRunAt: null }],
    ['scheduled', { failedAt: ago(10), lastFinishedAt: ago(10), nextRunAt: ago(-1000) }],
    ['completed', { failedAt: ago(100), lastFinishedAt: ago(10), nextRunAt: null }],
    ['completed', { lastRunAt: ago(20), lastFinishedAt: ago(10) }],
  ])('%s: %o', (state, attrs) => {
    expect(stateOf(job(attrs), Date.now())).toBe(state);
  });
});

describe('plans', () => {
  it.each([
    [{ repeatInterval: 90_000 }, undefined, 'interval', '90'],
    [{ repeatInterval: '1500' }, undefined, 'interval', '1.5'],
    [{ repeatInterval: '*/5 * * * *' }, undefined, 'cron', '*/5 * * * *'],
    [{ repeatInterval: '0 0 12 * * MON-FRI' }, undefined, 'cron', '0 0 12 * * MON-FRI'],
    [{ repeatInterval: '3 minutes' }, 180_000, 'interval', '180'],
    [{ repeatInterval: 'one minute and thirty seconds' }, 90_000, 'interval', '90'],
    [{ repeatInterval: 'nonsense' }, undefined, 'cron', 'nonsense'],
    [{ repeatAt: '3:30pm' }, undefined, 'cron', 'daily at 3:30pm'],
  ] as const)('%o', (attrs, interval, kind, expression) => {
    expect(planOf(job(attrs), interval)).toEqual({ kind, expression });
  });

  it('are understood from an operator', () => {
    expect(specOf({ kind: 'interval', expression: '90' })).toBe('90 seconds');
    expect(specOf({ expression: '90' })).toBe('90 seconds');
    expect(specOf({ kind: 'interval', expression: '0.5' })).toBe(500);
    expect(specOf({ kind: 'cron', expression: '0 4 * * *' })).toBe('0 4 * * *');
    expect(() => specOf({ kind: 'interval', expression: 'x' })).toThrow(/seconds/);
    expect(() => specOf({ kind: 'clocked', expression: '2026-01-01' })).toThrow(/submit the job/);
    expect(() => specOf({})).toThrow(/expression/);
  });
});

it('two payloads of a brain become the one of a job', () => {
  expect(dataOf([{ a: 1 }], {})).toEqual({ a: 1 });
  expect(dataOf([], { b: 2 })).toEqual({ b: 2 });
  expect(dataOf([1, 2], {})).toEqual([1, 2]);
  expect(dataOf([1], { b: 2 })).toEqual({ b: 2, args: [1] });
  expect(dataOf(undefined, undefined)).toBeUndefined();
});

it('priorities go there and back', () => {
  for (const label of ['critical', 'high', 'normal', 'low']) expect(priorityLabel(priorityNumber(label))).toBe(label);
  expect(priorityLabel(undefined)).toBe('normal');
  expect(priorityNumber('odd')).toBeUndefined();
});
