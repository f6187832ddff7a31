import { expect, test } from 'vitest';
import { memoryStorage } from '../../src/storage.js';

test('memory forgets the oldest commands that are done, never one that runs', () => {
  const { results } = memoryStorage({ bufferMaxBytes: 1 << 20 });
  results.begin('runs');
  for (let i = 0; i < 1001; i++) {
    results.begin(`done ${i}`);
    results.finish(`done ${i}`, { status: 'success', result: i, error: null });
  }
  expect(results.begin('runs')).toBe('running');
  expect(results.begin('done 1000')).toMatchObject({ result: 1000 });
  expect(results.begin('done 0')).toBe('new');
});
