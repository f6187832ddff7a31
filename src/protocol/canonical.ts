import { ProtocolError } from './errors.js';
import { MAX_DEPTH, RawNumber } from './reader.js';

/** Node 20 has these; TypeScript's ES2023 has not. */
interface WellFormed {
  isWellFormed(): boolean;
  toWellFormed(): string;
}

/** Lone surrogates replaced by U+FFFD: any text made signable. */
export function wellFormed(text: string): string {
  return (text as string & WellFormed).toWellFormed();
}

/** Quotes and escapes like Python's `json.dumps(ensure_ascii=False)`. Throws `unsignable` on a lone surrogate. */
export function canonicalString(text: string): string {
  if (!(text as string & WellFormed).isWellFormed())
    throw new ProtocolError('unsignable', 'Expected text without lone surrogates');
  return JSON.stringify(text);
}

/** Python's `repr` of a double: `1.0`, `1e-07`, `1e+16`, `-0.0`. Throws `unsignable` on NaN and infinities. */
export function pythonFloat(x: number): string {
  if (!Number.isFinite(x)) throw new ProtocolError('unsignable', `Expected a finite number, got ${x}`);
  const size = Math.abs(x);
  if (size === 0) return Object.is(x, -0) ? '-0.0' : '0.0';
  if (size >= 1e-4 && size < 1e16) return Number.isInteger(x) ? `${x}.0` : String(x);
  // JavaScript writes the same digits, but an exponent of one digit.
  return x.toExponential().replace(/(?<=e[+-])(?=\d$)/, '0');
}

/** A JavaScript number as `JSON.stringify` means it: integers below 1e21 as digits, the others as Python's `repr`. */
export function pythonNumber(x: number): string {
  return Number.isInteger(x) && Math.abs(x) < 1e21 ? String(x) : pythonFloat(x);
}

/** Order of Unicode code points, where `<` compares UTF-16 units: U+FFFF before U+1F600. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x === y) continue;
    if (x >= 0xd800 && y >= 0xd800) {
      // Surrogates stand for what comes after U+FFFF.
      if (x < 0xe000) x += 0x10000;
      if (y < 0xe000) y += 0x10000;
    }
    return x - y;
  }
  return a.length - b.length;
}

function print(value: unknown, depth: number): string {
  switch (typeof value) {
    case 'string':
      return canonicalString(value);
    case 'number':
      return pythonNumber(value);
    case 'boolean':
    case 'bigint':
      return String(value);
    case 'object':
      break;
    default:
      throw new ProtocolError('unsignable', `Expected a JSON value, got a ${typeof value}`);
  }
  if (value === null) return 'null';
  if (value instanceof RawNumber) return pythonFloat(value.value);
  if (depth === MAX_DEPTH) throw new ProtocolError('unsignable', `Expected at most ${MAX_DEPTH} levels of nesting`);
  if (Array.isArray(value)) {
    return `[${value.map((item) => print(item === undefined ? null : item, depth + 1)).join(',')}]`;
  }
  const object = value as { readonly [key: string]: unknown };
  let text = '';
  for (const key of Object.keys(object).sort(compareCodePoints)) {
    const item = object[key];
    if (item !== undefined) text += `${text && ','}${canonicalString(key)}:${print(item, depth + 1)}`;
  }
  return `{${text}}`;
}

/**
 * The exact text a brain hashes for a JSON value: sorted keys, no blanks, Python's numbers. Takes what `readJson`
 * gives as well as ordinary JSON values; keys with the value `undefined` are left out, as by `JSON.stringify`.
 * Throws `ProtocolError` `unsignable`.
 */
export function canonical(value: unknown): string {
  return print(value, 0);
}
