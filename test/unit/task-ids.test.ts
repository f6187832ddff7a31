import { describe, expect, test } from 'vitest';
import { Redactor } from '../../src/redactor.js';
import { TaskIds, taskHash } from '../../src/task-ids.js';

describe('task ids', () => {
  test('those of many tasks and engines at once stay apart', () => {
    const ids = new TaskIds(new Redactor());
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 600; i++) {
        for (const engine of ['bullmq', 'agenda']) {
          expect(ids.of(engine, `mail:${i}`)).toMatchObject({
            text: `"mail:${i}"`,
            hash: taskHash(engine, `mail:${i}`),
          });
        }
      }
    }
  });

  test('about no task: an empty text, and 0', () => {
    const ids = new TaskIds(new Redactor());
    expect(ids.of('bullmq', '')).toMatchObject({ text: '""', hash: 0 });
  });

  test('a plain one is what the printed one says', () => {
    const ids = new TaskIds(new Redactor());
    for (const id of ['a', 'q:a/b\n', 'q"uote', 'q:ann@example.com', 'x'.repeat(300)]) {
      expect(JSON.parse(ids.of('bullmq', id).text)).toBe(ids.plain(id));
    }
  });
});
