import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { type Block, BlockBuilder, copyOf, recordsOf } from './block.js';
import { errnoOf, reasonOf } from './errors.js';
import { SegmentFiles } from './files.js';
import type { JournalBatch, Position, RecordMeta } from './journal.js';
import type { JournalOptions } from './options.js';
import { Overlay } from './overlay.js';
import { SharedState } from './shared.js';

/** What another thread of the process needs to read a journal; fit for `postMessage`, with `port` transferred. */
export interface JournalHandle {
  /** Null: there is no disk, all comes through `port`. */
  readonly dir: string | null;
  readonly memory: SharedArrayBuffer;
  readonly port: MessagePort;
}

const RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;

/** Options of a journal without a disk. */
export interface DisklessOptions {
  readonly dir: null;
  readonly maxBytes: number;
  readonly eagerWrites?: JournalOptions['eagerWrites'];
}

/** The writing side of a durable journal. Opening throws `JournalError` or what the file system throws; nothing else does. */
export class JournalWriter {
  readonly shared = new SharedState();
  /** At most once a turn, after a write. */
  onWrite: (() => void) | undefined;
  readonly #options: JournalOptions | DisklessOptions;
  readonly #files: SegmentFiles | undefined;
  readonly #builder = new BlockBuilder();
  readonly #overlay: Overlay;
  readonly #bucket: Bucket | undefined;
  #next: Position;
  #turn: NodeJS.Immediate | undefined;
  #port: MessagePort | undefined;
  #problem: string | undefined;
  #retryAt = 0;
  #retryMs = RETRY_MS;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;
  /** That were told. */
  readonly #limits = new Set<'bytes' | 'age'>();

  constructor(options: JournalOptions | DisklessOptions) {
    this.#options = options;
    if (options.dir === null) {
      this.#overlay = new Overlay(options.maxBytes, (block) => this.#lose(block));
    } else {
      const { dir, maxBytes, maxAgeMs = Number.POSITIVE_INFINITY, fsync = false, memoryBytes = 16 << 20 } = options;
      this.#overlay = new Overlay(Math.min(memoryBytes, maxBytes), (block) => this.#lose(block));
      const onRemoved = (): void => this.note('removed', 'the folder was removed while running; it was made again');
      const onEvicted = (limit: 'bytes' | 'age', records: number): void => this.#evicted(limit, records);
      this.#files = new SegmentFiles({ dir, maxBytes, maxAgeMs, fsync, onRemoved, onEvicted }, this.shared);
    }
    this.#bucket = options.eagerWrites ? new Bucket(options.eagerWrites) : undefined;
    this.#next = this.shared.end;
  }

  /** Position the next record will get. */
  get end(): Position {
    return this.#next;
  }

  /** Whether records wait for the end of the turn. */
  get pending(): boolean {
    return this.#builder.records > 0;
  }

  get bytes(): number {
    return (this.#files?.bytes ?? 0) + this.#overlay.bytes;
  }

  /** When the oldest of the records in memory was appended. */
  get oldestInMemory(): number | undefined {
    return this.#overlay.first?.at;
  }

  append(text: string, meta: RecordMeta): void {
    if (this.#closed) return;
    if (!this.#builder.add(text, meta, this.#next)) {
      this.flush();
      if (!this.#builder.add(text, meta, this.#next)) {
        this.shared.lose('writer', meta.kind, 1);
        return;
      }
    }
    this.#next++;
    this.#atEndOfTurn();
    if (this.#bucket?.take() === true) this.flush();
  }

  /** Writes what is pending. The listener is told at the end of the turn all the same, never from in here. */
  flush(): void {
    if (this.#builder.records === 0) return;
    this.#write(this.#builder.take(this.#next));
    this.#wakeReader();
  }

  /** What is in memory only, because the disk cannot be written. */
  readMemory(start: Position, limit: { readonly records: number; readonly bytes: number }): JournalBatch | undefined {
    return this.#overlay.read(start, limit);
  }

  /** Deletes what has arrived. The reading side may have confirmed more since. */
  sweep(): void {
    this.#overlay.confirm(this.shared.confirmed);
    const degraded = this.#problem !== undefined;
    if (this.#files?.sweep(degraded) === true && degraded) this.#recover();
  }

  /** For a reader in another thread; one at a time. */
  connect(): JournalHandle {
    const { port1, port2 } = new MessageChannel();
    port1.unref();
    this.#port?.close();
    this.#port = port1;
    for (const block of this.#overlay.blocks) port1.postMessage(block);
    return { dir: this.#options.dir, memory: this.shared.memory, port: port2 };
  }

  close(): void {
    if (this.#closed) return;
    this.flush();
    if (this.#overlay.first !== undefined) this.#recover();
    this.#closed = true;
    clearImmediate(this.#turn);
    clearTimeout(this.#retry);
    this.#port?.close();
    this.#files?.close();
  }

  /** Not unref'ed: an unref'ed immediate waits for the next I/O event. It keeps the process for this one turn only. */
  #atEndOfTurn(): void {
    this.#turn ??= setImmediate(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#turn = undefined;
    this.flush();
    this.onWrite?.();
  };

  #wakeReader(): void {
    if (this.shared.wake()) this.#port?.postMessage(null);
  }

  #write(block: Block): void {
    this.#overlay.confirm(this.shared.confirmed);
    if (this.#files === undefined || this.#overlay.first !== undefined) {
      this.#keep(block);
      if (Date.now() >= this.#retryAt) this.#recover();
      return;
    }
    try {
      this.#files.sweep();
      this.#files.write(block);
    } catch (error) {
      this.#keep(block);
      this.#degrade(error);
    }
  }

  /** In memory here, and in the memory of the reader when that is in another thread. */
  #keep(block: Block): void {
    const copy = copyOf(block);
    this.#overlay.add(copy);
    this.#port?.postMessage(copy);
  }

  #lose(block: Block): void {
    let position = block.start;
    for (const { kind } of recordsOf(block)) {
      if (position++ >= this.shared.confirmed) this.shared.lose('writer', kind, 1);
    }
  }

  /** Moves what is in memory to the disk, as far as it goes. */
  #recover(): void {
    if (this.#files === undefined) return;
    try {
      for (let first = this.#overlay.first; first !== undefined; first = this.#overlay.first) {
        this.#files.write(first);
        this.#overlay.shift();
      }
    } catch (error) {
      this.#degrade(error);
      return;
    }
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#retryMs = RETRY_MS;
    if (this.#problem === undefined) return;
    const cause = this.#problem;
    this.#problem = undefined;
    this.#tell({ cause, state: 'recovered', message: 'the journal can be written again; events are on disk' });
    this.#wakeReader();
    this.#atEndOfTurn();
  }

  #degrade(error: unknown): void {
    const cause = errnoOf(error);
    if (cause !== this.#problem) {
      this.#problem = cause;
      const message = `the journal cannot be written (${reasonOf(error)}); events are kept in memory, within limits, until it can`;
      this.#tell({ cause, state: 'degraded', message });
    }
    this.#retryAt = Date.now() + this.#retryMs;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#recover(), this.#retryMs);
    this.#retry.unref();
    this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2);
  }

  #evicted(limit: 'bytes' | 'age', records: number): void {
    if (this.#limits.has(limit)) return;
    this.#limits.add(limit);
    const [cause, why, option] =
      limit === 'bytes'
        ? ['full', 'the journal is full', 'Z4J_BUFFER_MAX_BYTES']
        : ['old', 'the brain was away too long', 'Z4J_BUFFER_MAX_AGE_SECONDS'];
    this.note(cause, `${why}: the oldest ${records} events were dropped, later ones are only counted; see ${option}`);
  }

  /** Something that is over already. */
  note(cause: string, message: string): void {
    this.#tell({ cause, state: 'noted', message });
  }

  #tell(problem: { cause: string; state: 'degraded' | 'recovered' | 'noted'; message: string }): void {
    try {
      if (this.#options.dir !== null) this.#options.onProblem?.({ ...problem, path: this.#options.dir });
    } catch {
      // The listener's fault is not the host's.
    }
  }
}

/** So many per second, a few at once. */
class Bucket {
  readonly #perMs: number;
  readonly #burst = 8;
  #tokens = this.#burst;
  #at = Date.now();

  constructor(perSecond: number) {
    this.#perMs = perSecond / 1000;
  }

  take(): boolean {
    const now = Date.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#at) * this.#perMs);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
