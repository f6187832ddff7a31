import { describe, expect, test } from 'vitest';
import { plan } from '../../../src/flow/plan.js';
import { Runtimes } from '../../../src/flow/runtimes.js';
import { READ, Tasks, TOLD } from '../../../src/flow/tasks.js';
import { touchedTasks } from '../../../src/flow/touched.js';

describe('plan', () => {
  const parts = { always: 0.1, waiting: 0.1, ending: 0.1, success: 0.5 };

  test('takes the largest share that fits', () => {
    expect(plan(100, 100, parts)).toEqual({ share: 1, depth: 'successes' });
    expect(plan(100, 40, parts)).toEqual({ share: expect.closeTo(0.2), depth: 'successes' });
  });

  test('leaves out more of each task where that is not enough', () => {
    expect(plan(100, 26, parts)).toEqual({ share: expect.closeTo(0.1), depth: 'endings' });
    expect(plan(100, 17, parts)).toEqual({ share: expect.closeTo(0.1), depth: 'waiting' });
    expect(plan(100, 1, parts)).toEqual({ share: 0.005, depth: 'waiting' });
  });

  test('keeps a fixed share', () => {
    expect(plan(100, 60, parts, 0.5)).toEqual({ share: 0.5, depth: 'successes' });
    expect(plan(100, 51, parts, 0.5)).toEqual({ share: 0.5, depth: 'endings' });
    expect(plan(100, 1, parts, 0.5)).toEqual({ share: 0.5, depth: 'waiting' });
  });

  test('of nothing but what is always sent there is nothing to leave out', () => {
    expect(plan(100, 10, { always: 1, waiting: 0, ending: 0, success: 0 }).depth).toBe('waiting');
  });
});

describe('Runtimes', () => {
  test('finds the first of a name and the slowest few percent', () => {
    const runtimes = new Runtimes();
    expect(runtimes.isRemarkable('a', 100)).toBe(true);
    expect(runtimes.isRemarkable('b', 1)).toBe(true);
    let slow = 0;
    for (let number = 0; number < 5000; number++) {
      if (runtimes.isRemarkable('a', 100 + ((number * 37) % 100)) && number > 1000) slow++;
    }
    expect(slow / 4000).toBeGreaterThan(0.005);
    expect(slow / 4000).toBeLessThan(0.06);
    expect(runtimes.isRemarkable('a', 10_000)).toBe(true);
  });

  test('remembers a thousand names', () => {
    const runtimes = new Runtimes();
    for (let number = 0; number < 1000; number++) runtimes.isRemarkable(String(number), 1);
    expect(runtimes.isRemarkable('one more', 1)).toBe(false);
  });
});

describe('Tasks', () => {
  test('forgets the oldest, not those in use', () => {
    const tasks = new Tasks(100);
    tasks.set(1, TOLD);
    for (let task = 2; task < 1000; task++) {
      tasks.set(task, TOLD);
      tasks.set(1, tasks.get(1));
    }
    expect(tasks.get(1)).toBe(tasks.get(999));
    expect(tasks.get(2)).toBe(0);
  });

  test('what was read is not read any more on the next connection', () => {
    const tasks = new Tasks(100);
    tasks.set(1, TOLD | READ);
    tasks.reread();
    expect(tasks.get(1) & (TOLD | READ)).toBe(TOLD);
  });
});

test('touchedTasks finds the tasks of a command and of its result', () => {
  expect(touchedTasks({ engine: 'bullmq', task_id: 'a' }, { new_task_id: 'b', new_task_ids: ['c', 'a', 7] })).toEqual(
    ['a', 'b', 'c'].map((taskId) => ({ engine: 'bullmq', taskId })),
  );
  expect(touchedTasks({ filter: { engine: 'agenda', task_ids: ['x'] } }, null)).toEqual([
    { engine: 'agenda', taskId: 'x' },
  ]);
  expect(touchedTasks({ queue: 'mail' }, { task_id: 'a' })).toEqual([]);
});
