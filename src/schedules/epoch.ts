import { randomUUID } from 'node:crypto';
import { CommandError, type JsonObject } from '../engine.js';
import {
  type Authority,
  canonicalString,
  controlEventData,
  controlProjection,
  rowText,
  type ScheduleRow,
  snapshot,
  snapshotEventData,
} from '../protocol/index.js';
import type { ScheduleMemory } from './memory.js';

/** What a brain said of a batch. */
export interface BatchAck {
  readonly received: number;
  readonly accepted: number;
  readonly rejected: number;
}

/** The connection as schedules need it. */
export interface ScheduleLink {
  /** Sends events past the journal in one frame; rejects when they were not acknowledged in time. */
  send(records: readonly Buffer[], timeoutMs: number): Promise<BatchAck>;
  /** Ends this connection and makes another, with a new hello and new epochs. */
  reconnect(reason: string): void;
}

/** A snapshot lacked a schedule the brain holds, or held one it does not take. */
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

/** Several frames may be in one batch as long as the batch is small enough for every brain. */
const MAX_BATCH_BYTES = 700 * 1024;
/** A brain takes about 10 ms a row on SQLite. */
const ACK_MS_PER_ROW = 30;

/** A schedule event in canonical text, as the link sends it. */
export function scheduleEvent(kind: string, engine: string, data: string): Buffer {
  const at = new Date().toISOString();
  return Buffer.from(
    `{"data":${data},"engine":${canonicalString(engine)},"id":"${randomUUID()}","kind":"${kind}","occurred_at":"${at}","task_id":""}`,
  );
}

export const sameRows = (a: readonly ScheduleRow[], b: readonly ScheduleRow[]): boolean => {
  if (a.length !== b.length) return false;
  const known = new Map(a.map((row) => [row.source_key, row]));
  return b.every((row) => {
    const other = known.get(row.source_key);
    return other !== undefined && (other === row || rowText(other) === rowText(row));
  });
};

export const outdated = (): CommandError =>
  new CommandError('conflict', 'the connection on which this was asked is gone; repeat it');

export interface EpochOptions {
  readonly authority: Authority;
  readonly link: ScheduleLink;
  readonly memory: ScheduleMemory;
  readonly ackMs: number;
}

/**
 * The right to publish that one activation gave, for as long as its connection lasts: complete snapshots under rising
 * numbers, each sent once. A number whose fate is unknown ends the epoch; only another one may start over.
 */
export class Epoch {
  readonly authority: Authority;
  readonly #options: EpochOptions;
  #open = true;
  #sequence = 0;
  #rows: readonly ScheduleRow[] = [];
  /** Milliseconds the brain took for the last snapshot. */
  tookMs = 0;
  publishedAt = 0;

  constructor(options: EpochOptions) {
    this.#options = options;
    this.authority = options.authority;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** What the brain has accepted. */
  get rows(): readonly ScheduleRow[] {
    return this.#rows;
  }

  /** The connection is gone. */
  close(): void {
    this.#open = false;
  }

  /** Throws a `CommandError` when the connection has ended meanwhile. */
  check(): void {
    if (!this.#open) throw outdated();
  }

  /** Resolves with what an operator's command is answered with. Rejects with `RefusedSnapshot` or `CommandError`. */
  async publish(rows: readonly ScheduleRow[], reason: string): Promise<JsonObject> {
    this.check();
    const { memory, authority } = this.#options;
    const sequence = this.#sequence + 1;
    const made = snapshot({ authority, sequence, snapshotId: randomUUID(), rows });
    // What the brain is about to know must be remembered before it does; a superset does no harm.
    const known = new Set(rows.map((row) => row.source_key));
    await memory.save([...made.rows, ...this.#rows.filter((row) => !known.has(row.source_key))]);
    const records = made.frames.map((frame) =>
      scheduleEvent('schedule.snapshot', authority.owner, snapshotEventData(frame, reason)),
    );
    await this.#send(records, sequence, rows.length);
    this.#rows = made.rows;
    // Still the superset where this fails.
    await memory.save(made.rows).catch(() => undefined);
    const { stream_id, epoch_uuid, epoch_number, adapter_instance_id, owner } = authority;
    return {
      scheduler: owner,
      stream_id,
      epoch_uuid,
      epoch_number,
      sequence,
      adapter_instance_id,
      schedule_count: rows.length,
      frame_count: made.frames.length,
    };
  }

  /** Publishes the one row that a control changed; `rows` is what the brain holds afterwards. */
  async publishControl(operationId: string, row: ScheduleRow): Promise<number> {
    this.check();
    const { authority } = this.#options;
    const sequence = this.#sequence + 1;
    const body = controlProjection({ authority, sequence, operationId, row });
    await this.#send([scheduleEvent('schedule.updated', authority.owner, controlEventData(body))], sequence, 1);
    this.#rows = this.#rows.map((each) => (each.source_key === row.source_key ? row : each));
    return sequence;
  }

  async #send(records: readonly Buffer[], sequence: number, rows: number): Promise<void> {
    const { link, ackMs, authority } = this.#options;
    const start = Date.now();
    for (const batch of batches(records)) {
      this.check();
      const ack = await link.send(batch, ackMs + ACK_MS_PER_ROW * rows).catch((cause: unknown) => {
        const wasOpen = this.#open;
        this.#open = false;
        if (!wasOpen) throw outdated();
        link.reconnect(`snapshot ${sequence} of ${authority.owner} was not acknowledged`);
        throw new CommandError('indeterminate', `the brain did not acknowledge the schedules: ${String(cause)}`, {
          cause,
        });
      });
      if (ack.rejected > 0) {
        this.#open = false;
        const refused = new RefusedSnapshot(authority.owner, sequence);
        // The number is burnt. What to do about a first one is for those who know the names to decide.
        if (sequence > 1) link.reconnect(refused.message);
        throw refused;
      }
    }
    this.#sequence = sequence;
    this.publishedAt = Date.now();
    this.tookMs = this.publishedAt - start;
  }
}

function batches(records: readonly Buffer[]): Buffer[][] {
  const found: Buffer[][] = [];
  let bytes = Infinity;
  for (const record of records) {
    if (bytes + record.length > MAX_BATCH_BYTES) {
      found.push([]);
      bytes = 0;
    }
    found.at(-1)?.push(record);
    bytes += record.length;
  }
  return found;
}
