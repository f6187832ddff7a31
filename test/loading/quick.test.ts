import { describe, expect, test } from 'vitest';
import { quick } from './cells.mjs';
import { runCell } from './run.mjs';

describe.concurrent('the running Node', () => {
  test.for(quick())('$group: $name', { timeout: 180_000 }, async (cell) => {
    expect(await runCell(cell)).toEqual([]);
  });
});
