import { describe, expect, test } from 'vitest';
import { REDACTED, Redactor } from '../../src/redactor.js';

const worker = (name: string) => {
  const text = `"worker":${JSON.stringify(name)}`;
  return { name: 'worker', text, next: `,${text}` };
};

describe('a literal', () => {
  test('is printed as any object, the first time and the hundredth', () => {
    const redactor = new Redactor();
    const literals = (i: number) => [
      {},
      { task_name: `report-${i % 7}`, queue: 'mail', n: 1.5, args: [{ z: 1, a: i }], none: undefined },
      { zeta: 'q"uote', alpha: 'ünïcode 😀', middle: '\u0000zero', deep: { password: 'x' } },
      { mail: 'ann@example.com', password: 'short', '': 'x', a: '' },
      { none: undefined },
      { long: 'x'.repeat(65), longer: 'y'.repeat(9000), when: new Date(i) },
    ];
    for (let i = 0; i < 100; i++) {
      for (const literal of literals(i)) expect(redactor.printLiteral(literal)).toBe(redactor.print(literal, 1));
    }
  });

  test('texts that share what they are looked up by stay themselves', () => {
    const redactor = new Redactor();
    const names = Array.from({ length: 400 }, (_, i) => `tenant-${i}:ab`);
    for (let round = 0; round < 10; round++) {
      for (const name of names) expect(redactor.printLiteral({ name })).toBe(`{"name":"${name}"}`);
    }
  });

  test('secrets stay secret however often they come', () => {
    const redactor = new Redactor({ extraKeyPatterns: ['^inner$'] });
    for (let i = 0; i < 20; i++) {
      expect(redactor.printLiteral({ password: 'p', inner: 'q', text: 'a@b.com' })).toBe(
        `{"inner":"${REDACTED}","password":"${REDACTED}","text":"${REDACTED}"}`,
      );
    }
  });

  test.each([
    [{}, '{"worker":"w"}'],
    [{ a: 'x' }, '{"a":"x","worker":"w"}'],
    [{ z: 'x' }, '{"worker":"w","z":"x"}'],
    [{ z: 'x', a: 1, worker_name: 'n' }, '{"a":1,"worker":"w","worker_name":"n","z":"x"}'],
    [{ worker: 'other', a: 'x' }, '{"a":"x","worker":"w"}'],
    [{ worker: 'other', z: 'x' }, '{"worker":"w","z":"x"}'],
    [{ a: undefined, z: undefined }, '{"worker":"w"}'],
  ])('%j has one more member in its place', (literal, text) => {
    expect(new Redactor().printLiteral(literal, worker('w'))).toBe(text);
  });

  test('more names than are remembered, and more keys than are printed', () => {
    const redactor = new Redactor();
    for (let i = 0; i < 600; i++) expect(redactor.printLiteral({ [`key${i}`]: 'x' })).toBe(`{"key${i}":"x"}`);
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`key${i}`, 'x']));
    expect(Object.keys(JSON.parse(redactor.printLiteral(many)))).toHaveLength(2000);
  });

  test('values share one budget', () => {
    const half = new Array(4000).fill('x'.repeat(50));
    const text = new Redactor().printLiteral({ args: half, kwargs: { half }, result: half });
    expect(text.length).toBeLessThan(256 * 1024);
    expect(JSON.parse(text).result).toBe('[truncated]');
  });
});
