import { describe, expect, it } from 'vitest';
import {
  canonical,
  canonicalString,
  compareCodePoints,
  ProtocolError,
  plain,
  pythonFloat,
  pythonNumber,
  RawNumber,
  type ReadObject,
  readJson,
  wellFormed,
} from '../../../src/protocol/index.js';

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return 'nothing';
}

describe('reading', () => {
  it('keeps the form of numbers', () => {
    expect(readJson('[1, -0, 9007199254740991, 9007199254740993, -9007199254740993]')).toEqual([
      1,
      0,
      9007199254740991,
      9007199254740993n,
      -9007199254740993n,
    ]);
    expect(readJson('[1.0,1E5,-0.0]')).toEqual([new RawNumber('1.0'), new RawNumber('1E5'), new RawNumber('-0.0')]);
    expect(plain(readJson('[1.5e3,9007199254740993,{"a":[null,true,"x"]}]'))).toEqual([
      1500,
      9007199254740992,
      { a: [null, true, 'x'] },
    ]);
  });

  it('takes the last of equal keys and __proto__ as a key like any other', () => {
    expect(canonical(readJson('{"a":1,"b":2,"a":3}'))).toBe('{"a":3,"b":2}');
    const read = readJson('{"__proto__":{"polluted":1},"constructor":2}') as ReadObject;
    expect(Object.keys(read)).toEqual(['__proto__', 'constructor']);
    expect(canonical(read)).toBe('{"__proto__":{"polluted":1},"constructor":2}');
    const ordinary = plain(read);
    expect(Object.getPrototypeOf(ordinary)).toBe(Object.prototype);
    expect(JSON.stringify(ordinary)).toBe('{"__proto__":{"polluted":1},"constructor":2}');
    expect((ordinary as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it.each([
    '',
    ' ',
    '{',
    '[1',
    '[1,]',
    '{"a":1,}',
    '{"a"}',
    '{a:1}',
    "{'a':1}",
    '"',
    '"\n"',
    '"\\x"',
    '"\\u12"',
    '"\\u12g4"',
    '"\\',
    '01',
    '+1',
    '1.',
    '.5',
    '1e',
    '-',
    'NaN',
    'Infinity',
    '-Infinity',
    'nul',
    'True',
    '1 2',
    '[]]',
    '\ufeff1',
    '\u00a01',
    '/**/1',
  ])('refuses %j', (text) => {
    expect(code(() => readJson(text))).toBe('json');
    // Python's reader is no stricter than this one: what is JSON is read.
    expect(() => JSON.parse(text)).toThrow();
  });

  it('refuses bytes that are not UTF-8', () => {
    for (const bytes of [
      [0x22, 0xff, 0x22],
      [0x22, 0xe2, 0x82],
      [0x22, 0xed, 0xa0, 0x80, 0x22],
      [0x22, 0xc0, 0x80, 0x22],
    ]) {
      expect(code(() => readJson(Buffer.from(bytes)))).toBe('json');
    }
  });

  it('reads 200 levels and refuses more, however many', () => {
    const nest = (depth: number, open: string, close: string): string => `${open.repeat(depth)}1${close.repeat(depth)}`;
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ] as const) {
      const text = nest(200, open, close);
      expect(canonical(readJson(text))).toBe(text);
      expect(code(() => readJson(nest(201, open, close)))).toBe('depth');
      expect(code(() => readJson(open.repeat(1_000_000)))).toBe('depth');
    }
  });

  it('refuses numbers no brain can read, quickly', () => {
    expect(code(() => readJson('1e400'))).toBe('number');
    expect(code(() => readJson('-1e99999999999999999999'))).toBe('number');
    expect(code(() => readJson('9'.repeat(4301)))).toBe('number');
    expect(code(() => readJson('9'.repeat(10_000_000)))).toBe('number');
    expect(readJson(`-${'9'.repeat(4300)}`)).toBe(-(10n ** 4300n) + 1n);
    expect(plain(readJson(`0.${'3'.repeat(1_000_000)}`))).toBe(1 / 3);
  });
});

describe('printing', () => {
  it.each([
    [0, '0', '0.0'],
    [-0, '0', '-0.0'],
    [1, '1', '1.0'],
    [1.5, '1.5', '1.5'],
    [1e-4, '0.0001', '0.0001'],
    [1e-5, '1e-05', '1e-05'],
    [1.5e-7, '1.5e-07', '1.5e-07'],
    [1e-100, '1e-100', '1e-100'],
    [5e-324, '5e-324', '5e-324'],
    [123456789012345680, '123456789012345680', '1.2345678901234568e+17'],
    [1e15, '1000000000000000', '1000000000000000.0'],
    [1e16, '10000000000000000', '1e+16'],
    [1e20, '100000000000000000000', '1e+20'],
    [1e21, '1e+21', '1e+21'],
    [-1.7976931348623157e308, '-1.7976931348623157e+308', '-1.7976931348623157e+308'],
  ])('%d as a JavaScript number and as a double', (x, number, float) => {
    expect(pythonNumber(x)).toBe(number);
    expect(pythonFloat(x)).toBe(float);
  });

  it('sorts keys by code point', () => {
    const keys = ['\u{1f600}', '\uffff', '\ue000', '\ud7ff', 'é', '9', '10', '', 'a', 'aa', '\u{1f600}a'];
    const expected = ['', '10', '9', 'a', 'aa', 'é', '\ud7ff', '\ue000', '\uffff', '\u{1f600}', '\u{1f600}a'];
    expect([...keys].sort(compareCodePoints)).toEqual(expected);
    const object = Object.fromEntries(keys.map((key, i) => [key, i]));
    expect(canonical(object)).toBe(
      `{${expected.map((key) => `${JSON.stringify(key)}:${keys.indexOf(key)}`).join(',')}}`,
    );
  });

  it('escapes what Python escapes', () => {
    expect(canonicalString('"\\/\b\f\n\r\t\u0000\u001f\u007f\u2028é\u{1f600}')).toBe(
      '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\u007f\u2028é\u{1f600}"',
    );
  });

  it('leaves undefined out, as JSON.stringify does', () => {
    const value = { b: undefined, a: [undefined, 1], c: null };
    expect(canonical(value)).toBe('{"a":[null,1],"c":null}');
  });

  it.each([
    ['NaN', Number.NaN],
    ['an infinity', { a: [-Infinity] }],
    ['a lone surrogate', 'a\ud800'],
    ['a lone surrogate in a key', { '\udc00': 1 }],
    ['a function', { a: () => 1 }],
    ['a symbol', [Symbol('x')]],
    ['nothing', undefined],
  ])('refuses %s', (_, value) => {
    expect(code(() => canonical(value))).toBe('unsignable');
  });

  it('refuses cycles', () => {
    const cycle: unknown[] = [];
    cycle.push({ cycle });
    expect(code(() => canonical(cycle))).toBe('unsignable');
  });

  it('makes any text signable', () => {
    expect(canonicalString(wellFormed('a\ud800b\udc00\u{1f600}'))).toBe('"a\ufffdb\ufffd\u{1f600}"');
  });
});
