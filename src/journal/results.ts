import * as fs from 'node:fs';
import { join } from 'node:path';
import { closeQuietly, createFile, isUnlinked, openFile, readSmallFile, replaceFile, writeFully } from './disk.js';

export interface ResultsOptions {
  /** How long a command is remembered, in milliseconds. Default one day. */
  readonly ttlMs?: number | undefined;
  /** Limit of the file; beyond it the oldest results that were sent go first. Default 8 MiB. */
  readonly maxBytes?: number | undefined;
  /** Called when the file cannot be written, once until it can again; until then memory has to do. */
  readonly onProblem?: ((error: unknown) => void) | undefined;
}

/**
 * What became of commands, by key. `begin` is on disk when it returns: a process that dies between a command's effect
 * and its answer leaves a trace, and the command is not run again as if it were new.
 */
export interface Results<Result> {
  /**
   * `new`: never seen, now marked as begun. `running`: begun in this process. `interrupted`: begun by a process that
   * ended before it knew the result; now running in this one. Else the stored result.
   */
  begin(key: string): 'new' | 'running' | 'interrupted' | Result;
  finish(key: string, result: Result): void;
  /** Commands begun by a process that ended before it knew the result, oldest first. */
  interrupted(): string[];
  /** Results that are not known to have arrived, oldest first. */
  unsent(): { readonly key: string; readonly result: Result }[];
  /** The result has arrived; it is still remembered. */
  sent(key: string): void;
  close(): void;
}

interface Entry<Result> {
  readonly at: number;
  readonly mine: boolean;
  readonly result?: Result;
  readonly sent?: boolean;
}

/** One line of the file; the later one of a key counts. */
interface Line<Result> {
  readonly key: string;
  readonly at: number;
  readonly result?: Result;
  readonly sent?: boolean;
}

export const RESULTS_FILE = 'commands.jsonl';

/** Whether the folder of a dead process has results that were not sent, or commands it did not finish. */
export function hasUnsent(dir: string, options: ResultsOptions = {}): boolean {
  const entries = load(
    join(dir, RESULTS_FILE),
    Date.now() - (options.ttlMs ?? 86_400_000),
    options.maxBytes ?? 8 << 20,
  );
  return [...entries.values()].some(({ sent }) => sent !== true);
}

/** Opens the results kept in `dir`. Nothing throws. `Result` is JSON. */
export function openResults<Result>(dir: string, options: ResultsOptions = {}): Results<Result> {
  return new ResultLog<Result>(dir, options);
}

class ResultLog<Result> implements Results<Result> {
  readonly #path: string;
  readonly #ttlMs: number;
  readonly #maxBytes: number;
  readonly #onProblem: ((error: unknown) => void) | undefined;
  /** In order of beginning. */
  readonly #entries: Map<string, Entry<Result>>;
  #fd: number | undefined;
  #bytes = 0;
  #failing = false;

  constructor(dir: string, { ttlMs = 86_400_000, maxBytes = 8 << 20, onProblem }: ResultsOptions) {
    this.#path = join(dir, RESULTS_FILE);
    this.#ttlMs = ttlMs;
    this.#maxBytes = maxBytes;
    this.#onProblem = onProblem;
    this.#entries = load<Result>(this.#path, Date.now() - ttlMs, maxBytes * 2);
  }

  begin(key: string): 'new' | 'running' | 'interrupted' | Result {
    this.#forget();
    const known = this.#entries.get(key);
    if (known?.result !== undefined) return known.result;
    if (known?.mine === true) return 'running';
    const at = known?.at ?? Date.now();
    this.#entries.set(key, { at, mine: true });
    if (known !== undefined) return 'interrupted';
    this.#write({ key, at });
    return 'new';
  }

  finish(key: string, result: Result): void {
    const at = this.#entries.get(key)?.at ?? Date.now();
    this.#entries.set(key, { at, mine: true, result });
    this.#write({ key, at, result });
  }

  interrupted(): string[] {
    return Array.from(this.#entries).flatMap(([key, { mine, result }]) => (mine || result !== undefined ? [] : [key]));
  }

  unsent(): { key: string; result: Result }[] {
    return Array.from(this.#entries).flatMap(([key, { result, sent }]) =>
      result === undefined || sent === true ? [] : [{ key, result }],
    );
  }

  sent(key: string): void {
    const known = this.#entries.get(key);
    if (known?.result === undefined || known.sent === true) return;
    this.#entries.set(key, { ...known, sent: true });
    this.#write({ key, at: known.at, sent: true });
  }

  close(): void {
    closeQuietly(this.#fd);
    this.#fd = undefined;
  }

  #forget(): void {
    const before = Date.now() - this.#ttlMs;
    for (const [key, { at }] of this.#entries) {
      if (at >= before) break;
      this.#entries.delete(key);
    }
  }

  #write(line: Line<Result>): void {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    try {
      // What could not be written before is in memory only: all of it is written anew.
      if (this.#failing || this.#bytes + bytes.length > this.#maxBytes) this.#rewrite();
      else this.#append(bytes);
      this.#failing = false;
    } catch (error) {
      this.close();
      if (!this.#failing) this.#onProblem?.(error);
      this.#failing = true;
    }
  }

  #append(bytes: Buffer): void {
    if (this.#fd !== undefined && isUnlinked(this.#fd)) {
      this.#rewrite();
      return;
    }
    if (this.#fd === undefined) {
      this.#open();
      // The end may be a line that a crash cut off.
      if (this.#bytes > 0) this.#put(Buffer.from('\n'));
    }
    this.#put(bytes);
  }

  #put(bytes: Buffer): void {
    writeFully(this.#fd as number, bytes, bytes.length, this.#bytes);
    this.#bytes += bytes.length;
  }

  #open(): void {
    this.close();
    try {
      this.#fd = openFile(this.#path, 'write');
    } catch {
      this.#fd = createFile(this.#path);
    }
    this.#bytes = fs.fstatSync(this.#fd).size;
  }

  /** Writes what is remembered into a new file of at most half the limit. */
  #rewrite(): void {
    this.close();
    const lines = Array.from(this.#entries, ([key, { at, result, sent }]) => {
      const text = JSON.stringify({ key, at, result, sent } satisfies Record<keyof Line<Result>, unknown>);
      return { key, text, sent: sent === true };
    });
    let bytes = lines.reduce((sum, { text }) => sum + Buffer.byteLength(text) + 1, 0);
    for (const pass of [true, false]) {
      for (const line of lines) {
        if (bytes <= this.#maxBytes / 2) break;
        if (line.sent !== pass || !this.#entries.delete(line.key)) continue;
        bytes -= Buffer.byteLength(line.text) + 1;
      }
    }
    const kept = lines.filter(({ key }) => this.#entries.has(key));
    replaceFile(this.#path, kept.map(({ text }) => `${text}\n`).join(''));
    this.#open();
  }
}

function load<Result>(path: string, notBefore: number, maxBytes: number): Map<string, Entry<Result>> {
  const entries = new Map<string, Entry<Result>>();
  for (const text of readSmallFile(path, maxBytes)?.toString().split('\n') ?? []) {
    let line: Line<Result> | null;
    try {
      line = JSON.parse(text) as Line<Result> | null;
    } catch {
      continue;
    }
    if (typeof line?.key !== 'string' || typeof line.at !== 'number' || line.at < notBefore) continue;
    const { key, at } = line;
    const result = line.result ?? entries.get(key)?.result;
    const sent = line.sent ?? false;
    entries.set(key, { at, mine: false, ...(result === undefined ? {} : { result, sent }) });
  }
  return entries;
}
