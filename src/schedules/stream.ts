import { randomUUID } from 'node:crypto';
import { CommandError, type Engine, type JsonValue, type Scheduler } from '../engine.js';
import type { Log } from '../log.js';
import {
  type Authority,
  canonicalString,
  configuration,
  controlEventData,
  controlProjection,
  RUN_KEYS,
  type ScheduleRow,
  type Snapshot,
  sameRow,
  snapshot,
  snapshotEventData,
} from '../protocol/index.js';
import type { ScheduleMemory } from './memory.js';
import { inventoryOf, type Redact } from './rows.js';

/** What a brain said of a batch. */
export interface BatchAck {
  readonly received: number;
  readonly accepted: number;
  readonly rejected: number;
}

/** The connection as a stream needs it. */
export interface StreamLink {
  /** Sends events past the journal in one frame; rejects when they were not acknowledged in time. */
  send(records: readonly Buffer[], timeoutMs: number): Promise<BatchAck>;
  /** Ends this connection and makes another, with a new hello and new epochs. */
  reconnect(reason: string): void;
}

export interface StreamOptions {
  readonly owner: string;
  readonly engine: Engine;
  readonly scheduler: Scheduler;
  readonly link: StreamLink;
  readonly memory: ScheduleMemory;
  readonly redact: Redact;
  readonly log: Log;
  /** A schedule is listed when nothing was defined for so long, in milliseconds. Default 2000. */
  readonly settleMs?: number;
  /** Least time between two snapshots, in milliseconds. Default 2000. */
  readonly everyMs?: number;
  /** Default 30 000. */
  readonly ackMs?: number;
}

/** The first snapshot of an epoch lacked a schedule the brain holds, or held one it does not take. */
export class RefusedSnapshot extends Error {
  override readonly name = 'RefusedSnapshot';
  readonly code = 'refused_snapshot';
  constructor(
    readonly owner: string,
    readonly sequence: number,
  ) {
    super(`the brain refused snapshot ${sequence} of ${owner}`);
  }
}

const MAX_BATCH_BYTES = 700 * 1024;
const LONGEST_SETTLE = 10;

function event(kind: string, owner: string, data: string): Buffer {
  const at = new Date().toISOString();
  return Buffer.from(
    `{"data":${data},"engine":${canonicalString(owner)},"id":"${randomUUID()}","kind":"${kind}","occurred_at":"${at}","task_id":""}`,
  );
}

const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });

/**
 * The schedules of one engine as one owner's stream (protocol.md §7): complete snapshots under rising numbers while
 * the brain has given this connection the authority; nothing otherwise.
 */
export class ScheduleStream {
  readonly owner: string;
  readonly #options: StreamOptions;
  readonly #unsubscribe: () => void;
  readonly #born = Date.now();
  #changedAt = Date.now();
  #authority: Authority | undefined;
  #sequence = 0;
  #published: readonly ScheduleRow[] = [];
  #queue: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #publishedAt = 0;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.owner = options.owner;
    this.#unsubscribe = options.scheduler.onChange(() => {
      this.#changedAt = Date.now();
      this.#refreshSoon();
    });
  }

  get scheduler(): Scheduler {
    return this.#options.scheduler;
  }

  get active(): boolean {
    return this.#authority !== undefined;
  }

  /** The connection is gone, and the authority with it. */
  deactivate(): void {
    this.#authority = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  close(): void {
    this.deactivate();
    this.#unsubscribe();
  }

  /** Answers `schedule.external.activate`: the first snapshot holds every row the brain may still have. */
  activate(authority: Authority): Promise<JsonValue> {
    this.deactivate();
    this.#authority = authority;
    this.#sequence = 0;
    this.#published = [];
    return this.#exclusive(async () => {
      await this.#settled();
      const { memory } = this.#options;
      const rows = await this.#list();
      const names = new Set(rows.flatMap((row) => [row.source_key, row.name]));
      const remembered = await memory.load(this.owner);
      const gone = remembered.filter((row) => !names.has(row.source_key) && !names.has(row.name));
      const first = await this.#publish([...rows, ...gone.map((row) => ({ ...row, is_enabled: false }))], 'activation');
      if (gone.length > 0) await this.#publish(rows, 'activation');
      return this.#told(first, rows.length);
    });
  }

  /** Publishes now if anything changed, or in any case when `always`. */
  refresh(reason: string, always = false): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#authority === undefined) return;
      const rows = await this.#list();
      if (always || !this.#isPublished(rows)) await this.#publish(rows, reason);
    });
  }

  /**
   * Changes the engine by `apply`, which resolves with the name of the schedule afterwards (undefined: it is gone),
   * and publishes what came of it. `expected` is the row as the operator saw it, null for a new one.
   */
  mutate(
    { operationId, sourceKey, expected, authority }: MutationRequest,
    apply: (name: string) => Promise<{ name: string | undefined; result: JsonValue }>,
  ): Promise<JsonValue> {
    return this.#exclusive(async () => {
      this.#check(authority);
      const before = (await this.#list()).find((row) => row.source_key === sourceKey);
      if (expected !== null && (before === undefined || !sameRow(before, expected, RUN_KEYS))) {
        throw new CommandError('conflict', 'the schedule changed since it was shown; look at it again');
      }
      const { name, result } = await apply(before?.name ?? '');
      const rows = await this.#list();
      const published = await this.#publish(rows, `native-mutation:${operationId}`);
      const row = rows.find((candidate) => candidate.name === name);
      return {
        ...(this.#told(published, rows.length) as object),
        operation_id: operationId,
        source_key: row?.source_key ?? sourceKey,
        observed_configuration: row === undefined ? null : (configuration(row) as unknown as JsonValue),
        trigger_result: { status: 'success', result, error: null },
      };
    });
  }

  /**
   * Answers `schedule.external.control` of brains before 1.13: enables or disables by `apply` and publishes the one
   * row. `matches` decides whether the row is still the one the operator saw.
   */
  control(
    { operationId, sourceKey, authority, sequence }: ControlRequest,
    matches: (row: ScheduleRow) => boolean,
    apply: (name: string) => Promise<void>,
  ): Promise<JsonValue> {
    return this.#exclusive(async () => {
      const own = this.#check(authority);
      const before = (await this.#list()).find((row) => row.source_key === sourceKey);
      if (before === undefined || !matches(before)) {
        throw new CommandError('conflict', 'the schedule changed since it was shown; look at it again');
      }
      await apply(before.name);
      const rows = await this.#list();
      const row = rows.find((candidate) => candidate.source_key === sourceKey) ?? before;
      const body = controlProjection({ authority: own, sequence, operationId, row });
      await this.#send([event('schedule.updated', this.owner, controlEventData(body))], sequence);
      this.#sequence = sequence;
      this.#published = rows;
      return { operation_id: operationId, sequence, projection_buffered: true, deduplicated: false };
    });
  }

  #told(published: Snapshot, count: number): JsonValue {
    const { stream_id, epoch_uuid, epoch_number, adapter_instance_id } = this.#authority as Authority;
    return {
      scheduler: this.owner,
      stream_id,
      epoch_uuid,
      epoch_number,
      sequence: this.#sequence,
      adapter_instance_id,
      schedule_count: count,
      frame_count: published.frames.length,
    };
  }

  #check(theirs: Pick<Authority, 'stream_id' | 'epoch_uuid' | 'adapter_instance_id'>): Authority {
    const own = this.#authority;
    if (
      own === undefined ||
      own.stream_id !== theirs.stream_id ||
      own.epoch_uuid !== theirs.epoch_uuid ||
      own.adapter_instance_id !== theirs.adapter_instance_id
    ) {
      throw new CommandError('conflict', 'the operation was meant for an earlier connection; repeat it');
    }
    return own;
  }

  /** A library that still defines its schedules has to come to an end first: rows may be added later, never missed. */
  async #settled(): Promise<void> {
    const { settleMs = 2000 } = this.#options;
    while (Date.now() - Math.max(this.#changedAt, this.#born) < settleMs) {
      if (Date.now() - this.#born > settleMs * LONGEST_SETTLE) return;
      await pause(settleMs / 10);
    }
  }

  async #list(): Promise<readonly ScheduleRow[]> {
    const { scheduler, engine, redact, log } = this.#options;
    const { rows, refused } = inventoryOf(await scheduler.list(), engine, this.owner, redact);
    for (const { name, reason } of refused) {
      log.once(`schedule:${this.owner}:${name}`, 'warn', `schedule ${name} of ${engine.name} is not shown: ${reason}`);
    }
    return rows;
  }

  #isPublished(rows: readonly ScheduleRow[]): boolean {
    if (rows.length !== this.#published.length) return false;
    const known = new Map(this.#published.map((row) => [row.source_key, row]));
    return rows.every((row) => {
      const before = known.get(row.source_key);
      return before !== undefined && sameRow(row, before);
    });
  }

  async #publish(rows: readonly ScheduleRow[], reason: string): Promise<Snapshot> {
    const { memory } = this.#options;
    const authority = this.#authority;
    if (authority === undefined) throw new CommandError('conflict', 'the connection was lost; repeat the operation');
    const sequence = this.#sequence + 1;
    const made = snapshot({ authority, sequence, snapshotId: randomUUID(), rows });
    // What is about to be known to the brain must be remembered before it is; a superset does no harm.
    await memory.save(this.owner, [
      ...new Map([...this.#published, ...rows].map((row) => [row.source_key, row])).values(),
    ]);
    const records = made.frames.map((frame) =>
      event('schedule.snapshot', this.owner, snapshotEventData(frame, reason)),
    );
    await this.#send(records, sequence);
    if (this.#authority !== authority)
      throw new CommandError('conflict', 'the connection was lost; repeat the operation');
    this.#sequence = sequence;
    this.#published = rows;
    this.#publishedAt = Date.now();
    await memory.save(this.owner, rows);
    return made;
  }

  async #send(records: readonly Buffer[], sequence: number): Promise<void> {
    const { link, ackMs = 30_000 } = this.#options;
    for (let batch: Buffer[] = [], bytes = 0, i = 0; i < records.length; i++) {
      const record = records[i] as Buffer;
      batch.push(record);
      bytes += record.length;
      const next = records[i + 1];
      if (next !== undefined && bytes + next.length <= MAX_BATCH_BYTES) continue;
      let ack: BatchAck;
      try {
        ack = await link.send(batch, ackMs);
      } catch (cause) {
        // The number is burnt in this epoch: only a new one may start over.
        this.deactivate();
        link.reconnect(`snapshot ${sequence} of ${this.owner} was not acknowledged`);
        throw new CommandError('indeterminate', `the brain did not acknowledge the schedules: ${String(cause)}`, {
          cause,
        });
      }
      if (ack.rejected > 0) {
        this.deactivate();
        throw new RefusedSnapshot(this.owner, sequence);
      }
      batch = [];
      bytes = 0;
    }
  }

  /** One after another: a snapshot is never built while another is on its way. */
  #exclusive<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(run, run);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #refreshSoon(): void {
    if (this.#authority === undefined || this.#timer !== undefined) return;
    const { everyMs = 2000, log } = this.#options;
    const wait = Math.max(everyMs / 10, this.#publishedAt + everyMs - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.refresh('change').catch((cause: unknown) => log.debug(`schedules of ${this.owner}: ${String(cause)}`));
    }, wait);
    this.#timer.unref();
  }
}

type Addressed = Pick<Authority, 'stream_id' | 'epoch_uuid' | 'adapter_instance_id'>;

export interface MutationRequest {
  readonly operationId: string;
  readonly sourceKey: string | null;
  readonly expected: object | null;
  readonly authority: Addressed;
}

export interface ControlRequest {
  readonly operationId: string;
  readonly sourceKey: string;
  readonly authority: Addressed;
  readonly sequence: number;
}
