import { join } from 'node:path';
import type { JsonValue } from '../engine.js';
import { readSmallFile, replaceFile } from './disk.js';

export interface StateOptions {
  /** Name of the file in the folder. Default `state.json`. */
  readonly file?: string | undefined;
  /** Limit of the file. Default 1 MiB. */
  readonly maxBytes?: number | undefined;
  /** Called when the file could not be written, once until it can again. */
  readonly onProblem?: ((error: unknown) => void) | undefined;
}

/** A few JSON values by name that survive a restart. Nothing throws; without a disk it is memory. */
export interface State {
  get(key: string): JsonValue | undefined;
  /** On disk at the end of this turn of the event loop. False: it would be over the limit and is not taken. */
  set(key: string, value: JsonValue): boolean;
  delete(key: string): void;
  keys(): string[];
  /** Writes what is pending, synchronously. */
  flush(): void;
}

/** Opens the values kept in `dir`; a file that is damaged, too large or a link counts as none. */
export function openState(dir: string, options: StateOptions = {}): State {
  const { file = 'state.json', maxBytes = 1 << 20, onProblem } = options;
  const path = join(dir, file);
  /** Printed once, at `set`. */
  const texts = new Map<string, string>();
  let bytes = 2;
  let turn: NodeJS.Immediate | undefined;
  let failing = false;

  const cost = (key: string, text: string): number => JSON.stringify(key).length * 3 + Buffer.byteLength(text) + 2;
  const put = (key: string, text: string | undefined): boolean => {
    const old = texts.get(key);
    const change = (text === undefined ? 0 : cost(key, text)) - (old === undefined ? 0 : cost(key, old));
    if (change > 0 && bytes + change > maxBytes) return false;
    bytes += change;
    if (text === undefined) texts.delete(key);
    else texts.set(key, text);
    return true;
  };
  const flush = (): void => {
    clearImmediate(turn);
    if (turn === undefined) return;
    turn = undefined;
    const entries = Array.from(texts, ([key, text]) => `${JSON.stringify(key)}:${text}`);
    try {
      replaceFile(path, `{${entries.join(',')}}`);
      failing = false;
    } catch (error) {
      if (!failing) onProblem?.(error);
      failing = true;
    }
  };
  const change = (key: string, text: string | undefined): boolean => {
    if (texts.get(key) === text) return true;
    const taken = put(key, text);
    if (taken) turn ??= setImmediate(flush);
    return taken;
  };

  for (const [key, value] of readEntries(path, maxBytes)) put(key, JSON.stringify(value));
  return {
    get: (key) => {
      const text = texts.get(key);
      return text === undefined ? undefined : (JSON.parse(text) as JsonValue);
    },
    set: (key, value) => change(key, JSON.stringify(value)),
    delete: (key) => void change(key, undefined),
    keys: () => [...texts.keys()],
    flush,
  };
}

function readEntries(path: string, maxBytes: number): [string, JsonValue][] {
  try {
    const value = JSON.parse(readSmallFile(path, maxBytes)?.toString() ?? '{}') as { [key: string]: JsonValue };
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
  } catch {
    return [];
  }
}
