/** What the instrumentations share: wrapping, and reading errors and contexts of the host. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';

export type Method = (this: unknown, ...args: unknown[]) => unknown;

const WRAPPED = Symbol.for('z4j.bare.wrapped');

/** What a wrapper of any copy of this package stands in for; the function itself when it is none. */
export function original(method: Method): Method {
  return (method as Method & { [WRAPPED]?: Method })[WRAPPED] ?? method;
}

/** What OpenTelemetry marks its wrappers with: whoever carries them is taken off by the next of its plug-ins. */
const FOREIGN_MARKS: readonly PropertyKey[] = ['__wrapped', '__unwrap', '__original'];

/** Gives a wrapper the name, length and own properties of what it stands in for, and the mark against doubles. */
export function disguise<F extends Method>(wrapper: F, stands: Method): F {
  for (const key of Reflect.ownKeys(stands)) {
    const descriptor = Object.getOwnPropertyDescriptor(stands, key);
    if (descriptor === undefined || key === 'prototype' || FOREIGN_MARKS.includes(key)) continue;
    Object.defineProperty(wrapper, key, descriptor);
  }
  return Object.defineProperty(wrapper, WRAPPED, { value: stands });
}

/**
 * Replaces a method, once however often it is called, also by another copy of this package.
 * An inherited method gets an own one that is not enumerable. Returns false when there is no method to replace, or
 * no way to.
 */
export function wrap(holder: object, name: PropertyKey, make: (stands: Method) => Method): boolean {
  const stands: unknown = Reflect.get(holder, name);
  if (typeof stands !== 'function') return false;
  if (WRAPPED in stands) return true;
  const wrapper = disguise(make(stands as Method), stands as Method);
  try {
    // Assignment first: it is what module namespaces made by a loader understand.
    if (Object.hasOwn(holder, name) && Reflect.set(holder, name, wrapper)) return Reflect.get(holder, name) === wrapper;
  } catch {
    return false;
  }
  const enumerable = Object.getOwnPropertyDescriptor(holder, name)?.enumerable ?? false;
  return Reflect.defineProperty(holder, name, { value: wrapper, writable: true, configurable: true, enumerable });
}

/**
 * An observer that cannot hurt the host: the first error it throws is told once and switches it off.
 */
export function guard<A extends unknown[], T>(what: string, observe: (...args: A) => T): (...args: A) => T | undefined {
  let broken = false;
  return (...args) => {
    if (broken) return undefined;
    try {
      return observe(...args);
    } catch (cause) {
      broken = true;
      process.emitWarning(`z4j: ${what} is no longer observed: ${String((cause as Error)?.stack ?? cause)}`);
      return undefined;
    }
  };
}

/** The run of a task that the code executing now belongs to. */
export interface CurrentRun {
  readonly taskId: string;
  readonly rootId: string;
}

/** Before Node 24 the first `run` of a store makes every promise of the process dearer: so none before it is of use. */
export const currentRun = new AsyncLocalStorage<CurrentRun>();

/** Whether a library is here that asks which run it is called in. */
let asked = false;

/** `currentRun` will be read. */
export function asksForRuns(): void {
  asked = true;
}

/** The code runs as the run given, for those who ask. */
export const inRun = <T>(run: CurrentRun, call: () => T): T => (asked ? currentRun.run(run, call) : call());

let zone: string | undefined;

/** The IANA name of the time zone of this process: where a library plans when nobody names another. */
export function localZone(): string {
  zone ??= Intl.DateTimeFormat().resolvedOptions().timeZone;
  return zone;
}

/** `TypeError: x is not a function` for anything that can be thrown. */
export function exceptionText(error: unknown): string {
  try {
    if (typeof error !== 'object' || error === null) return String(error);
    const { name, message } = error as Partial<Error>;
    if (typeof message !== 'string') return Object.prototype.toString.call(error);
    const title = typeof name === 'string' && name !== '' ? name : 'Error';
    return message === '' ? title : `${title}: ${message}`;
  } catch {
    return 'error that cannot be read';
  }
}

const OWN_FILES = new URL('.', import.meta.url).href;

/** The stack without the frames of Node and of this package; undefined when there is none. */
export function traceback(error: unknown): string | undefined {
  try {
    const stack = (error as Partial<Error> | null | undefined)?.stack;
    if (typeof stack !== 'string') return undefined;
    return stack
      .split('\n')
      .filter((line) => !line.includes(OWN_FILES) && !/^\s+at .*(\(|\s)node:|@z4j[/\\]bare/.test(line))
      .join('\n');
  } catch {
    return undefined;
  }
}

interface Telemetry {
  readonly context?: { active(): { getValue(key: symbol): unknown } };
}
interface Span {
  spanContext?(): { traceId?: string; spanId?: string };
}

const TELEMETRY = Symbol.for('opentelemetry.js.api.1');
const SPAN = Symbol.for('OpenTelemetry Context Key SPAN');

/** Ids of the host's active OpenTelemetry span, read where the API registers itself: nothing is imported. */
export function traceIds(): { trace_id: string; span_id: string } | undefined {
  const api = (globalThis as { [TELEMETRY]?: Telemetry })[TELEMETRY];
  if (api?.context === undefined) return undefined;
  const span = api.context.active().getValue(SPAN) as Span | undefined;
  const { traceId, spanId } = span?.spanContext?.() ?? {};
  return typeof traceId === 'string' && typeof spanId === 'string' ? { trace_id: traceId, span_id: spanId } : undefined;
}

/** 16 hexadecimal digits that stand for a text. */
export function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** At most `max` characters; what is longer ends in a hash of the whole, so that different texts stay different. */
export function shorten(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 17)}~${digest(text)}`;
}

/**
 * Remembers between `size` and twice as many of the newest, without looking for the oldest: two maps, the older of
 * which is dropped when the newer is full.
 */
export class Recent<V> {
  readonly #size: number;
  #newer = new Map<string, V>();
  #older = new Map<string, V>();

  constructor(size: number) {
    this.#size = size;
  }

  has(key: string): boolean {
    return this.#newer.has(key) || this.#older.has(key);
  }

  get(key: string): V | undefined {
    return this.#newer.get(key) ?? this.#older.get(key);
  }

  set(key: string, value: V): void {
    if (this.#newer.size >= this.#size) {
      this.#older = this.#newer;
      this.#newer = new Map();
    }
    this.#newer.set(key, value);
  }

  delete(key: string): boolean {
    const older = this.#older.delete(key);
    return this.#newer.delete(key) || older;
  }
}
