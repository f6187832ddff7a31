import { ProtocolError } from './errors.js';

/** Deepest nesting that is read or printed; a brain's own parser fails near 1000. */
export const MAX_DEPTH = 200;

/** Python converts no longer integers. */
const MAX_DIGITS = 4300;

/** A number token with a fraction or an exponent: to a brain `1.0` and `1` are different texts. */
export class RawNumber {
  readonly lexeme: string;
  readonly value: number;
  constructor(lexeme: string) {
    this.lexeme = lexeme;
    this.value = Number(lexeme);
  }
}

/** JSON with its numbers kept: safe integers are numbers, larger ones bigints, everything else a `RawNumber`. */
export type ReadValue = null | boolean | number | bigint | string | RawNumber | ReadValue[] | ReadObject;
/** Has no prototype: `__proto__` is a key like any other. */
export interface ReadObject {
  [key: string]: ReadValue;
}

export function isObject(value: unknown): value is ReadObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof RawNumber);
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const HEX = /[0-9a-fA-F]{4}/y;
const ESCAPES: { readonly [letter: string]: string } = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

// Own code: readers that keep the form of numbers recurse without a limit, or refuse what a brain takes (equal keys).
class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): ReadValue {
    this.#blank();
    const value = this.#value(0);
    this.#blank();
    if (this.#at < this.#text.length) throw this.#unexpected();
    return value;
  }

  #unexpected(): ProtocolError {
    const found = this.#at < this.#text.length ? JSON.stringify(this.#text[this.#at]) : 'the end';
    return new ProtocolError('json', `Expected JSON, got ${found} at character ${this.#at}`);
  }

  #blank(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return;
      this.#at++;
    }
  }

  /** Steps over `character` and the blanks after it, if it is there. */
  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    this.#blank();
    return true;
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#unexpected();
    this.#at += word.length;
    return value;
  }

  #value(depth: number): ReadValue {
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth + 1);
      case '[':
        return this.#array(depth + 1);
      case '"':
        return this.#string();
      case 't':
        return this.#word('true', true);
      case 'f':
        return this.#word('false', false);
      case 'n':
        return this.#word('null', null);
      default:
        return this.#number();
    }
  }

  #enter(depth: number): void {
    if (depth > MAX_DEPTH) throw new ProtocolError('depth', `Expected at most ${MAX_DEPTH} levels of nesting`);
    this.#at++;
    this.#blank();
  }

  #object(depth: number): ReadObject {
    this.#enter(depth);
    const object: ReadObject = Object.create(null);
    if (this.#text[this.#at] !== '}') {
      do {
        if (this.#text[this.#at] !== '"') throw this.#unexpected();
        const key = this.#string();
        this.#blank();
        if (!this.#skip(':')) throw this.#unexpected();
        object[key] = this.#value(depth);
        this.#blank();
      } while (this.#skip(','));
      if (this.#text[this.#at] !== '}') throw this.#unexpected();
    }
    this.#at++;
    return object;
  }

  #array(depth: number): ReadValue[] {
    this.#enter(depth);
    const array: ReadValue[] = [];
    if (this.#text[this.#at] !== ']') {
      do {
        array.push(this.#value(depth));
        this.#blank();
      } while (this.#skip(','));
      if (this.#text[this.#at] !== ']') throw this.#unexpected();
    }
    this.#at++;
    return array;
  }

  #string(): string {
    const text = this.#text;
    let start = ++this.#at;
    let read = '';
    for (;;) {
      const code = text.charCodeAt(this.#at);
      if (code === 34) {
        read += text.slice(start, this.#at++);
        return read;
      }
      if (code === 92) {
        read += text.slice(start, this.#at);
        read += this.#escape();
        start = this.#at;
      } else if (code >= 32) {
        this.#at++;
      } else {
        throw this.#unexpected();
      }
    }
  }

  #escape(): string {
    this.#at++;
    const letter = this.#text[this.#at] ?? '';
    if (letter === 'u') {
      HEX.lastIndex = this.#at + 1;
      const hex = HEX.exec(this.#text)?.[0];
      if (hex === undefined) throw this.#unexpected();
      this.#at += 5;
      return String.fromCharCode(Number.parseInt(hex, 16));
    }
    if (!Object.hasOwn(ESCAPES, letter)) throw this.#unexpected();
    this.#at++;
    return ESCAPES[letter] ?? '';
  }

  #number(): number | bigint | RawNumber {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) throw this.#unexpected();
    const [lexeme, fraction, exponent] = match;
    this.#at += lexeme.length;
    if (fraction !== undefined || exponent !== undefined) {
      const number = new RawNumber(lexeme);
      if (Number.isFinite(number.value)) return number;
    } else if (lexeme.length <= MAX_DIGITS || (lexeme.length === MAX_DIGITS + 1 && lexeme[0] === '-')) {
      const number = Number(lexeme);
      return Number.isSafeInteger(number) ? number + 0 : BigInt(lexeme);
    }
    throw new ProtocolError('number', `Expected a number in range at character ${this.#at - lexeme.length}`);
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 bytes as text; throws `ProtocolError` `json` when they are not. */
export function decodeText(raw: string | Uint8Array): string {
  if (typeof raw === 'string') return raw;
  try {
    return UTF8.decode(raw);
  } catch (cause) {
    throw new ProtocolError('json', 'Expected UTF-8', { cause });
  }
}

/**
 * Reads JSON as a brain does: numbers keep their form, of equal keys the last wins, `NaN` and the like are refused.
 * Throws `ProtocolError` `json`, `depth` or `number`.
 */
export function readJson(raw: string | Uint8Array): ReadValue {
  return new Reader(decodeText(raw)).document();
}

export type PlainValue = null | boolean | number | string | PlainValue[] | PlainObject;
export interface PlainObject {
  [key: string]: PlainValue;
}

/** The same value with ordinary objects and numbers, as `JSON.parse` would have given it. */
export function plain(value: ReadObject): PlainObject;
export function plain(value: ReadValue): PlainValue;
export function plain(value: ReadValue): PlainValue {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof RawNumber) return value.value;
  if (Array.isArray(value)) return value.map((item) => plain(item));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}
