import { expect, test } from 'vitest';
import { wrap } from '../../../instrumentations/common.js';

test('a wrapper over that of OpenTelemetry does not pass for one of its own', () => {
  const foreign = Object.assign(
    function work(a: number, b: number) {
      return a + b;
    },
    { __wrapped: true, __unwrap() {}, __original() {}, kept: 1 },
  );
  const holder = { work: foreign as (...args: never[]) => unknown };
  expect(
    wrap(
      holder,
      'work',
      (stands) =>
        (...args) =>
          stands(...args),
    ),
  ).toBe(true);
  expect(holder.work).not.toBe(foreign);
  const { name, length } = holder.work;
  expect({ name, length, kept: Reflect.get(holder.work, 'kept') }).toEqual({ name: 'work', length: 2, kept: 1 });
  for (const mark of ['__wrapped', '__unwrap', '__original']) expect(mark in holder.work).toBe(false);
});
