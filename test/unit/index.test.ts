import { expect, test } from 'vitest';
import * as engine from '../../src/engine.js';
import * as index from '../../src/index.js';

test('the entry offers all that the adapters of libraries are made with', () => {
  expect(Object.keys(index)).toEqual(expect.arrayContaining(Object.keys(engine)));
});
