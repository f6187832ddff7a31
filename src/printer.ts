import { types } from 'node:util';
import { compareCodePoints, pythonNumber } from './protocol/canonical.js';

export const REDACTED = '[REDACTED]';
export const REDACTED_TEXT = `"${REDACTED}"`;

/** What a key of an object becomes. */
export interface KeyRule {
  /** As it stands in the output. */
  readonly name: string;
  /** The printed name and its colon. */
  readonly text: string;
  /** The same behind a comma. */
  readonly next: string;
  /** UTF-8 of the text. */
  readonly bytes: number;
  /** Everything below is `[REDACTED]`. */
  readonly secret: boolean;
  /** The name is the key itself, and UTF-16 order puts it where code point order does. */
  readonly plain: boolean;
}

/** What the printer asks about secrets. */
export interface PrintRules {
  key(key: string): KeyRule;
  /** The printed text, quoted. */
  text(text: string): string;
  /** What the last `text()` is charged: its bytes of UTF-8, printed or looked at. */
  readonly cost: number;
}

/** Bounds that keep a print short whatever the value is. */
export const LIMITS = {
  /** Values deeper than this are markers, as at the brain (protocol.md §9). */
  depth: 64,
  /** Keys of one object that are looked at. */
  keys: 2000,
  /** Bytes of one print, give or take one string; what is over is told by markers. */
  bytes: 240 * 1024,
} as const;

const INT64 = 2n ** 63n;

/** A name and what belongs to it, printed. */
export interface Member {
  readonly text: string;
  /** The same behind a comma. */
  readonly next: string;
}

interface Shape<Rule> {
  readonly keys: readonly string[];
  /** The same keys sorted by the names they become. */
  readonly sorted: readonly string[];
  readonly rules: readonly Rule[];
}

const NO_SHAPE: Shape<never> = { keys: [], sorted: [], rules: [] };

/** Objects of the same origin have the same keys in the same order: sorted once, recognised by comparing pointers. */
export class Shapes<Rule extends KeyRule> {
  readonly #rule: (key: string) => Rule;
  readonly #known: (Shape<Rule> | undefined)[] = new Array(256).fill(undefined);

  constructor(rule: (key: string) => Rule) {
    this.#rule = rule;
  }

  of(keys: readonly string[]): Shape<Rule> {
    if (keys.length === 0) return NO_SHAPE;
    const first = keys[0] as string;
    const last = keys[keys.length - 1] as string;
    const slot =
      (keys.length * 37 + first.length * 11 + last.length * 5 + first.charCodeAt(0) * 3 + last.charCodeAt(0)) & 255;
    const known = this.#known[slot];
    if (known !== undefined && isSame(known.keys, keys)) return known;
    const shape = this.#make(keys);
    if (keys.length <= 64) this.#known[slot] = shape;
    return shape;
  }

  #make(keys: readonly string[]): Shape<Rule> {
    const rules = keys.map((key) => this.#rule(key));
    const order = keys.map((_, index) => index);
    const name = (index: number): string => (rules[index] as Rule).name;
    if (rules.every((rule) => rule.plain)) {
      order.sort((a, b) => (name(a) < name(b) ? -1 : 1));
    } else {
      order.sort((a, b) => compareCodePoints(name(a), name(b)) || a - b);
    }
    // Two keys may become one name; the last one stands for both, as when the text is read again.
    const kept = order.filter((index, i) => i === order.length - 1 || name(index) !== name(order[i + 1] as number));
    return {
      keys: keys.slice(),
      sorted: kept.map((index) => keys[index] as string),
      rules: kept.map((index) => rules[index] as Rule),
    };
  }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * One walk over one value of the host: redacts it and prints it as the brain's canonical JSON. A walk of its own holds
 * the state, so a getter or `toJSON` of the value may print another value meanwhile.
 */
export class Printer {
  readonly #rules: PrintRules;
  readonly #shapes: Shapes<KeyRule>;
  /** The objects the walk is in, outermost first; `#level` of them. */
  #above: object[] | undefined;
  #level = 0;
  #left: number = LIMITS.bytes;

  constructor(rules: PrintRules, shapes: Shapes<KeyRule>) {
    this.#rules = rules;
    this.#shapes = shapes;
  }

  /** The value of one member of a literal, on level 2. */
  member(rule: KeyRule, value: unknown): string | undefined {
    this.#left -= rule.bytes + 1;
    return this.#left > 0 ? this.print(value, 2, rule.secret) : '"[truncated]"';
  }

  /** The text of a value; undefined where `JSON.stringify` would leave it out. */
  print(value: unknown, depth: number, secret: boolean): string | undefined {
    switch (typeof value) {
      case 'string':
        return secret ? this.#redacted() : this.#text(value);
      case 'number':
        if (secret) return this.#redacted();
        this.#left -= 12;
        return Number.isFinite(value) ? pythonNumber(value) : `"${value}"`;
      case 'boolean':
        if (secret) return this.#redacted();
        this.#left -= 5;
        return value ? 'true' : 'false';
      case 'undefined':
        this.#left -= 4;
        return undefined;
      case 'object':
        if (depth >= LIMITS.depth || (value === null && secret)) return this.#redacted();
        this.#left -= 4;
        return value === null ? 'null' : this.#object(value, depth, secret);
      case 'bigint':
        if (secret) return this.#redacted();
        this.#left -= 20;
        return value >= -INT64 && value < INT64 ? String(value) : this.#text(bigText(value));
      default:
        return secret ? this.#redacted() : this.#text(describe(value as symbol | ((...args: never) => unknown)));
    }
  }

  #redacted(): string {
    this.#left -= REDACTED_TEXT.length;
    return REDACTED_TEXT;
  }

  #text(text: string): string {
    const printed = this.#rules.text(text);
    this.#left -= this.#rules.cost;
    return printed;
  }

  #object(value: object, depth: number, secret: boolean): string | undefined {
    this.#above ??= [];
    const above = this.#above;
    const level = this.#level;
    for (let i = 0; i < level; i++) if (above[i] === value) return '"[circular]"';
    above[level] = value;
    this.#level = level + 1;
    try {
      if (Array.isArray(value)) return this.#items(value, value.length, depth, secret);
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype !== Object.prototype && prototype !== null) {
        const special = this.#special(value, depth, secret);
        if (special !== undefined) return special;
      }
      const { toJSON } = value as { toJSON?: unknown };
      if (typeof toJSON === 'function') {
        const json: unknown = toJSON.call(value, '');
        if (json !== value) return this.print(json, depth + (typeof json === 'object' ? 1 : 0), secret);
      }
      const keys = Object.keys(value);
      return this.#members(value as { [key: string]: unknown }, keys, keys.length, depth, secret);
    } catch {
      // A revoked proxy, a trap or `toJSON` that throws, no stack left.
      return secret ? REDACTED_TEXT : '"[unreadable]"';
    } finally {
      this.#level = level;
    }
  }

  #items(list: ArrayLike<unknown>, length: number, depth: number, secret: boolean): string {
    let text = '[';
    for (let i = 0; i < length; i++) {
      if (i > 0) text += ',';
      this.#left -= 1;
      if (this.#left <= 0) return `${text}"[...${length - i} more items truncated]"]`;
      text += this.print(read(list, i), depth + 1, secret) ?? 'null';
    }
    return `${text}]`;
  }

  #members(object: { [key: string]: unknown }, keys: string[], total: number, depth: number, secret: boolean): string {
    if (total === 0) return '{}';
    if (total > LIMITS.keys) keys.length = LIMITS.keys;
    const { sorted, rules } = this.#shapes.of(keys);
    const last = sorted.length - 1;
    let text = '';
    for (let i = 0; i <= last; i++) {
      const rule = rules[i] as KeyRule;
      this.#left -= rule.bytes + 1;
      if (this.#left <= 0 || (i === last && total > keys.length)) {
        // The marker is a value: as a key it would have to be sorted in.
        const more = total - i - 1;
        return `{${text}${text && ','}${rule.text}"[truncated${more > 0 ? `, and ${more} more keys` : ''}]"}`;
      }
      const item = this.print(read(object, sorted[i] as string), depth + 1, secret || rule.secret);
      if (item !== undefined) text += (text === '' ? rule.text : rule.next) + item;
    }
    return `{${text}}`;
  }

  /** What JSON has no form for; undefined: an instance of a class, printed by its own enumerable properties. */
  #special(value: object, depth: number, secret: boolean): string | undefined {
    if (types.isMap(value)) {
      const object = mapObject(value);
      return this.#members(object, Object.keys(object), value.size, depth, secret);
    }
    if (types.isSet(value)) {
      return this.#items(first(value, Math.max(0, this.#left)), value.size, depth, secret);
    }
    if (types.isBoxedPrimitive(value)) return this.print(value.valueOf(), depth, secret);
    const text = specialText(value);
    if (text === undefined) return undefined;
    return secret ? this.#redacted() : text === null ? 'null' : this.#text(text);
  }
}

function read(object: object, key: string | number): unknown {
  try {
    return (object as { readonly [key: string | number]: unknown })[key];
  } catch {
    return '[unreadable]';
  }
}

function mapObject(map: ReadonlyMap<unknown, unknown>): { [key: string]: unknown } {
  const object: { [key: string]: unknown } = Object.create(null);
  let taken = 0;
  for (const [key, item] of map) {
    if (taken === LIMITS.keys) break;
    taken++;
    object[typeof key === 'object' && key !== null ? `[object ${taken}]` : String(key)] = item;
  }
  return object;
}

function first(set: ReadonlySet<unknown>, count: number): unknown[] {
  const items: unknown[] = [];
  for (const item of set) {
    if (items.length >= count) break;
    items.push(item);
  }
  return items;
}

/** Text for dates, errors, bytes and the like; null for a date that is none. */
function specialText(value: object): string | null | undefined {
  if (types.isDate(value)) {
    const time = Date.prototype.getTime.call(value);
    return Number.isNaN(time) ? null : new Date(time).toISOString();
  }
  if (types.isNativeError(value) || value instanceof Error) return errorText(value);
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) {
    const name = Buffer.isBuffer(value) ? 'Buffer' : Object.prototype.toString.call(value).slice(8, -1);
    return `[${name}: ${value.byteLength} bytes]`;
  }
  if (types.isRegExp(value)) return RegExp.prototype.toString.call(value);
  if (types.isPromise(value)) return '[Promise]';
  return undefined;
}

/** `TypeError: message`, without running what a host may have put in place of `toString`. */
function errorText(error: Error): string {
  const { name, message } = error;
  return message ? `${String(name)}: ${String(message)}` : String(name);
}

function bigText(value: bigint): string {
  // Base 16 is linear; decimal digits of a number of a million bits would block the host.
  const hex = value.toString(16);
  return hex.length > 1024 ? `[BigInt: ${hex.length} hexadecimal digits]` : String(value);
}

function describe(value: symbol | ((...args: never) => unknown)): string {
  if (typeof value === 'symbol') return `[Symbol: ${value.description ?? ''}]`;
  const name: unknown = Object.getOwnPropertyDescriptor(value, 'name')?.value;
  return `[Function: ${typeof name === 'string' && name !== '' ? name : 'anonymous'}]`;
}
