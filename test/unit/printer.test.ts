import { describe, expect, test } from 'vitest';
import { canonical } from '../../src/protocol/canonical.js';
import { plain, readJson } from '../../src/protocol/reader.js';
import { Redactor } from '../../src/redactor.js';

const redactor = new Redactor();
const print = (value: unknown) => redactor.print(value);
const redact = (value: unknown) => redactor.redact(value);

describe('what JSON has no form for', () => {
  class Point {
    x = 1;
    #hidden = 2;
    get sum() {
      return this.x + this.#hidden;
    }
  }
  class Money {
    toJSON() {
      return { amount: 5, apiKey: 'k' };
    }
  }
  test.each<[string, unknown, string]>([
    ['NaN', Number.NaN, '"NaN"'],
    ['infinity', [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY], '["Infinity","-Infinity"]'],
    ['-0', -0, '0'],
    ['floats', [1e-7, 1e21, 1.5, 1e16, 0.1], '[1e-07,1e+21,1.5,10000000000000000,0.1]'],
    ['BigInt', [2n ** 60n, -(2n ** 63n)], '[1152921504606846976,-9223372036854775808]'],
    ['great BigInt', 2n ** 64n, '"18446744073709551616"'],
    ['huge BigInt', 1n << 10000n, '"[BigInt: 2501 hexadecimal digits]"'],
    ['undefined', { a: undefined, b: [undefined] }, '{"b":[null]}'],
    ['top undefined', undefined, 'null'],
    ['Date', new Date(0), '"1970-01-01T00:00:00.000Z"'],
    ['no date', new Date(Number.NaN), 'null'],
    [
      'Map',
      new Map<unknown, unknown>([
        ['b', 1],
        [2, 'x'],
        [{}, 3],
        ['password', 'p'],
      ]),
      '{"2":"x","[object 3]":3,"b":1,"password":"[REDACTED]"}',
    ],
    ['Set', new Set([1, 'a@b.com']), '[1,"[REDACTED]"]'],
    ['Buffer', Buffer.from('secret'), '"[Buffer: 6 bytes]"'],
    ['typed array', new Float32Array(3), '"[Float32Array: 12 bytes]"'],
    ['ArrayBuffer', new ArrayBuffer(5), '"[ArrayBuffer: 5 bytes]"'],
    ['Error', new TypeError('bad'), '"TypeError: bad"'],
    ['function', [function work() {}, () => 1], '["[Function: work]","[Function: anonymous]"]'],
    ['symbol', Symbol('s'), '"[Symbol: s]"'],
    ['RegExp', /a"b/g, '"/a\\"b/g"'],
    ['boxed', [Object('s'), Object(1n)], '["s",1]'],
    ['Promise', Promise.resolve(1), '"[Promise]"'],
    ['class', new Point(), '{"x":1}'],
    ['toJSON', new Money(), '{"amount":5,"apiKey":"[REDACTED]"}'],
    ['URL', new URL('http://h/p'), '"http://h/p"'],
    ['null prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ['lone surrogate', 'a\ud800b', '"a\ufffdb"'],
    ['NUL', 'a\0b', '"ab"'],
    ['control characters', '\u0001\n"\\\u007f\u2028', '"\\u0001\\n\\"\\\\\u007f\u2028"'],
    ['key order', { '😀': 1, '\uffff': 2, b: 3, '10': 4, '9': 5 }, '{"10":4,"9":5,"b":3,"\uffff":2,"😀":1}'],
    ['__proto__', JSON.parse('{"__proto__":{"x":1},"a":2}'), '{"__proto__":{"x":1},"a":2}'],
    [
      'secret containers',
      { token: { a: [1, new Date(0), Buffer.alloc(1)], b: {} } },
      '{"token":{"a":["[REDACTED]","[REDACTED]","[REDACTED]"],"b":{}}}',
    ],
  ])('%s', (_, value, text) => expect(print(value)).toBe(text));
});

describe('hostile values', () => {
  test('getters, traps and toJSON that throw are markers', () => {
    const value = {
      fine: 1,
      get bad() {
        throw new Error('no');
      },
      json: {
        toJSON() {
          throw new Error('no');
        },
      },
      trap: new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error('no');
          },
        },
      ),
      list: new Proxy([1], { get: (target, key) => (key === 'length' ? 2 : Reflect.get(target, key)) }),
      revoked: (() => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return proxy;
      })(),
      error: Object.defineProperty(new Error('x'), 'message', {
        get: () => {
          throw new Error('no');
        },
      }),
    };
    expect(redact(value)).toEqual({
      fine: 1,
      bad: '[unreadable]',
      json: '[unreadable]',
      trap: '[unreadable]',
      list: [1, null],
      revoked: '[unreadable]',
      error: '[unreadable]',
    });
  });

  test('cycles end, repetition does not count as one', () => {
    const shared = { s: 1 };
    const value: Record<string, unknown> = { a: shared, b: shared };
    value.self = value;
    value.list = [value];
    const map = new Map<string, unknown>();
    map.set('map', map);
    value.map = map;
    expect(redact(value)).toEqual({
      a: { s: 1 },
      b: { s: 1 },
      self: '[circular]',
      list: ['[circular]'],
      map: { map: '[circular]' },
    });
  });

  test('endless proxies and toJSON chains end by depth', () => {
    const handler: ProxyHandler<object> = {
      get: (_, key) => (key === 'toJSON' ? undefined : new Proxy({}, handler)),
      ownKeys: () => ['a'],
      getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true, value: 1 }),
    };
    expect(print(new Proxy({}, handler)).match(/"a"/g)).toHaveLength(64);
    const chain = (): object => ({ toJSON: chain });
    expect(print(chain())).toBe('"[REDACTED]"');
  });

  test('a value that is printed while another is does not disturb it', () => {
    const value = { a: { toJSON: () => print({ inner: ['x'] }) }, b: [1] };
    expect(redact(value)).toEqual({ a: '{"inner":["x"]}', b: [1] });
  });

  test('depth counts from where the text will stand', () => {
    const nest = (levels: number): unknown => (levels === 0 ? {} : { k: nest(levels - 1) });
    expect(redactor.print(nest(70), 2).match(/k/g)).toHaveLength(62);
    expect(print(nest(70)).match(/k/g)).toHaveLength(64);
  });

  test.each<[string, () => unknown]>([
    ['long array', () => new Array(200_000).fill('word')],
    ['sparse array', () => new Array(2 ** 31)],
    ['wide characters', () => new Array(60_000).fill('日本語')],
    ['many long texts', () => new Array(10_000).fill('é'.repeat(4000))],
    ['many secrets', () => new Array(100_000).fill(`${'x'.repeat(8000)} a@b.com`)],
    ['many keys', () => Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`k${i}`, { i }]))],
    [
      'many keys at every level',
      () =>
        Array.from({ length: 100 }, (_, i) =>
          Object.fromEntries(Array.from({ length: 500 }, (_, j) => [`${i}-${j}`, j])),
        ),
    ],
    ['Map', () => new Map(Array.from({ length: 5_000 }, (_, i) => [i, i]))],
    ['Set', () => new Set(Array.from({ length: 60_000 }, (_, i) => i))],
    ['undefined', () => new Array(100_000).fill(undefined)],
  ])('%s: bounded, canonical, and says that it is cut', (_, make) => {
    const text = print(make());
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(256 * 1024);
    expect(text).toMatch(/truncated/);
    expect(canonical(readJson(text))).toBe(text);
  });
});

/** What redaction does to a value without secrets, told plainly. */
function expected(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('\0', '').replace(/[\ud800-\udfff]/gu, '\ufffd');
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(expected);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [expected(key), expected(item)]));
}

test('random values: the text is canonical and says what the value says', () => {
  const seed = Number(process.env.SEED ?? Date.now() % 100_000);
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const letters = ['a', 'Z', '7', ' ', '"', '\\', '\n', '\u0001', 'é', '日', '😀', '\ud800', '\0', '\uffff', '\u2028'];
  const text = () => Array.from({ length: Math.floor(random() * 8) }, () => pick(letters)).join('');
  const number = () => pick([0, 1, -1, 1.5, 1e-7, 1e20, 2 ** 53, random(), random() * 1e6, -random() * 1e-9]);
  const value = (depth: number): unknown => {
    const kind = random();
    if (depth > 0 && kind < 0.25) return Array.from({ length: Math.floor(random() * 4) }, () => value(depth - 1));
    if (depth > 0 && kind < 0.6) {
      return Object.fromEntries(Array.from({ length: Math.floor(random() * 5) }, () => [text(), value(depth - 1)]));
    }
    return pick<() => unknown>([text, number, () => null, () => true, () => false])();
  };
  for (let i = 0; i < 2000; i++) {
    const input = value(5);
    const printed = print(input);
    expect(canonical(readJson(printed)), `SEED=${seed}, value ${i}`).toBe(printed);
    expect(plain(readJson(printed)), `SEED=${seed}, value ${i}`).toEqual(expected(input));
    expect(redact(input), `SEED=${seed}, value ${i}`).toEqual(JSON.parse(printed));
  }
});
