import { createHash } from 'node:crypto';
import { canonical, compareCodePoints } from './canonical.js';
import { ProtocolError } from './errors.js';
import { type PlainObject, RawNumber } from './reader.js';
import { formatMicros, parseInstant } from './time.js';

/** What a brain gave with `schedule.external.activate`: the right to publish the schedules of one owner. */
export interface Authority {
  readonly stream_id: string;
  readonly epoch_uuid: string;
  readonly epoch_number: number;
  readonly owner: string;
  readonly source_scope: string;
  readonly adapter_instance_id: string;
}

/** One schedule, all 20 keys (protocol.md §7.3). */
export interface ScheduleRow {
  /** Identity within the owner, ≤ 500 characters. */
  readonly source_key: string;
  readonly engine: string;
  /** The owner. */
  readonly scheduler: string;
  readonly name: string;
  readonly task_name: string;
  readonly kind: 'cron' | 'interval' | 'solar' | 'clocked';
  readonly expression: string;
  readonly timezone: string;
  readonly queue: string | null;
  readonly priority: 'critical' | 'high' | 'normal' | 'low';
  readonly args: readonly unknown[];
  readonly kwargs: { readonly [key: string]: unknown };
  readonly is_enabled: boolean;
  /** `2026-12-01T00:00:30.000000+00:00`. */
  readonly last_run_at: string | null;
  readonly next_run_at: string | null;
  readonly total_runs: number | bigint;
  readonly external_id: string | null;
  readonly catch_up: string;
  readonly source: string;
  readonly source_hash: string | null;
}

/** Keys that move by themselves; a row without them is its configuration. */
export const RUN_KEYS = ['last_run_at', 'next_run_at', 'total_runs'] as const;

const KINDS = ['cron', 'interval', 'solar', 'clocked'] as const;
const PRIORITIES = ['critical', 'high', 'normal', 'low'] as const;
/** These make a brain apply rules of another product. */
const RESERVED_SOURCES = ['celery-beat:static', 'celery-beat:database'];
/** Python's `str.strip()`, which is not quite `trim()`. */
const BLANK = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
const STRIP = new RegExp(`^${BLANK}|${BLANK}$`, 'g');
const MAX_FRAME_BYTES = 700 * 1024;
/** More than a frame has around its rows. */
const BODY_BYTES = 2048;

type Input = { readonly [key: string]: unknown };

function refuse(key: string, expected: string): never {
  throw new ProtocolError('row', `Expected \`${key}\` of the schedule to be ${expected}`);
}

/** A text that is there; undefined when it is absent, null or empty. */
function optional(row: Input, key: string, max: number): string | undefined {
  const value = row[key];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') return refuse(key, 'a text');
  return value.length > max ? refuse(key, `at most ${max} characters`) : value;
}

function stripped(row: Input, key: string, max: number): string | undefined {
  return optional(row, key, max)?.replace(STRIP, '') || undefined;
}

function oneOf<T extends string>(row: Input, key: string, values: readonly T[]): T | undefined {
  const value = optional(row, key, Infinity);
  return value === undefined
    ? undefined
    : (values.find((known) => known === value) ?? refuse(key, `one of ${values.join(', ')}`));
}

function time(row: Input, key: string): string | null {
  const text = optional(row, key, 64);
  if (text === undefined) return null;
  const instant = parseInstant(text);
  return (instant && formatMicros(instant)) ?? refuse(key, 'a time with an offset');
}

function total(row: { readonly total_runs?: unknown }): number | bigint {
  const value = row.total_runs ?? 0;
  const valid =
    typeof value === 'bigint' ? value >= 0n && value < 2n ** 63n : Number.isSafeInteger(value) && Number(value) >= 0;
  return valid ? (value as number | bigint) : refuse('total_runs', 'an integer of at least 0');
}

function record(row: Input, key: string): { readonly [key: string]: unknown } {
  const value = row[key] ?? {};
  if (typeof value !== 'object' || Array.isArray(value) || value instanceof RawNumber) {
    return refuse(key, 'an object');
  }
  return value as { readonly [key: string]: unknown };
}

/**
 * A row as a brain hashes it: every key present, defaults filled in, times in UTC with microseconds. `row` may have
 * absent keys and keys nobody knows; redact it first, since the brain redacts before it hashes.
 * Throws `ProtocolError` `row` for what would make the brain refuse the whole inventory.
 */
export function normaliseRow(row: Input, owner: string): ScheduleRow {
  const name = stripped(row, 'name', 200) ?? refuse('name', 'not empty');
  const scheduler = optional(row, 'scheduler', 40) ?? owner;
  if (scheduler !== owner) refuse('scheduler', 'the owner of the inventory');
  const args = row.args ?? [];
  const enabled = row.is_enabled ?? true;
  const source = optional(row, 'source', 64) ?? 'agent';
  if (RESERVED_SOURCES.includes(source)) refuse('source', 'a name of your own');
  return {
    source_key:
      stripped(row, 'source_key', 500) ??
      stripped(row, 'external_source_key', 500) ??
      stripped(row, 'external_id', 200) ??
      name,
    engine: stripped(row, 'engine', 40) ?? (owner.split('-', 1)[0] || refuse('engine', 'not empty')),
    scheduler,
    name,
    task_name: stripped(row, 'task_name', 500) ?? refuse('task_name', 'not empty'),
    kind: oneOf(row, 'kind', KINDS) ?? refuse('kind', `one of ${KINDS.join(', ')}`),
    expression: optional(row, 'expression', 1024) ?? refuse('expression', 'not empty'),
    timezone: optional(row, 'timezone', 64) ?? 'UTC',
    queue: optional(row, 'queue', 200) ?? null,
    priority: oneOf(row, 'priority', PRIORITIES) ?? 'normal',
    args: Array.isArray(args) ? args : refuse('args', 'a list'),
    kwargs: record(row, 'kwargs'),
    is_enabled: typeof enabled === 'boolean' ? enabled : refuse('is_enabled', 'true or false'),
    last_run_at: time(row, 'last_run_at'),
    next_run_at: time(row, 'next_run_at'),
    total_runs: total(row),
    external_id: optional(row, 'external_id', 200) ?? null,
    catch_up: optional(row, 'catch_up', 40) ?? 'skip',
    source,
    source_hash: optional(row, 'source_hash', 128) ?? null,
  };
}

/** A text and its lowercase hex SHA-256. */
export interface Digested {
  /** Canonical JSON. */
  readonly text: string;
  readonly digest: string;
}

function hashed(text: string): Digested {
  return { text, digest: createHash('sha256').update(text).digest('hex') };
}

function digested(value: object): Digested {
  return hashed(canonical(value));
}

const texts = new WeakMap<ScheduleRow, string>();

/** The canonical text of a row; printed once, since a row is compared, hashed and sent. */
export function rowText(row: ScheduleRow): string {
  let text = texts.get(row);
  if (text === undefined) {
    text = canonical(row);
    texts.set(row, text);
  }
  return text;
}

/** Figures of a schedule's runs; times as in a row. */
export type RunFigures = Pick<ScheduleRow, (typeof RUN_KEYS)[number]>;

/**
 * `plain`, a row without figures, with these. Nothing but strings stands behind the figures in a row's text, so that
 * the last place that looks like one is one.
 * Throws `ProtocolError` `row` for a total that is no count.
 */
export function withRuns(plain: ScheduleRow, figures: RunFigures): ScheduleRow {
  const { last_run_at, next_run_at, total_runs } = figures;
  total(figures);
  const row = { ...plain, last_run_at, next_run_at, total_runs };
  let parts = around.get(plain);
  if (parts === undefined) {
    const text = rowText(plain);
    const [ran, next, runs] = ['"last_run_at":null', '"next_run_at":null', '"total_runs":0'].map((key) =>
      text.lastIndexOf(key),
    ) as [number, number, number];
    parts = [text.slice(0, ran + 14), text.slice(ran + 18, next + 14), text.slice(next + 18, runs + 13)];
    around.set(plain, parts);
  }
  const [head, middle, tail] = parts;
  texts.set(row, `${head}${quoted(last_run_at)}${middle}${quoted(next_run_at)}${tail}${total_runs}}`);
  return row;
}

/** What stands before each of the figures in the text of a row without any. */
const around = new WeakMap<ScheduleRow, readonly [string, string, string]>();

const quoted = (text: string | null): string => (text === null ? 'null' : `"${text}"`);

const EMPTY_LIST = '"schedules":[]';

/**
 * A body with rows that are printed already. A text in it cannot be taken for the empty list: its quotes are escaped.
 * Hashed in parts: the whole need not be put together for it, and that of a projection never is.
 */
function withRows(body: object, list: string): Digested {
  const text = canonical({ ...body, schedules: [] });
  const at = text.indexOf(EMPTY_LIST) + EMPTY_LIST.length - 1;
  const head = text.slice(0, at);
  const tail = text.slice(at);
  const digest = createHash('sha256').update(head).update(list).update(tail).digest('hex');
  return { text: `${head}${list}${tail}`, digest };
}

const listed = (rows: readonly ScheduleRow[]): string => rows.map(rowText).join(',');

/** Lowercase hex SHA-256 of a row's canonical text; takes rows of a brain as `readJson` gave them, too. */
export function rowDigest(row: object): string {
  return digested(row).digest;
}

function without(row: object, keys: readonly string[]): object {
  return Object.fromEntries(Object.entries(row).filter(([key]) => !keys.includes(key)));
}

/** The row without `RUN_KEYS`: what `observed_configuration` of a native operation carries. */
export function configuration(row: ScheduleRow): Omit<ScheduleRow, (typeof RUN_KEYS)[number]> {
  return without(row, RUN_KEYS) as Omit<ScheduleRow, (typeof RUN_KEYS)[number]>;
}

/** Whether two rows have the same canonical text but for some keys. */
export function sameRow(a: object, b: object, ignoring: readonly string[] = []): boolean {
  return canonical(without(a, ignoring)) === canonical(without(b, ignoring));
}

/** Reads the parameters of `schedule.external.activate`. Throws `ProtocolError` `payload`. */
export function readAuthority(parameters: PlainObject): Authority {
  const text = (key: string): string => {
    const value = parameters[key];
    if (typeof value === 'string' && value !== '') return value;
    throw new ProtocolError('payload', `Expected \`${key}\` to be a text`);
  };
  const { epoch_number } = parameters;
  if (!Number.isSafeInteger(epoch_number)) {
    throw new ProtocolError('payload', 'Expected `epoch_number` to be an integer');
  }
  return {
    stream_id: text('stream_id'),
    epoch_uuid: text('epoch_uuid'),
    epoch_number: epoch_number as number,
    owner: text('owner'),
    source_scope: text('source_scope'),
    adapter_instance_id: text('adapter_instance_id'),
  };
}

/** What all bodies of one sequence number share. */
function common(authority: Authority, sequence: number): object {
  const { stream_id, epoch_uuid, epoch_number, owner, source_scope, adapter_instance_id } = authority;
  return {
    protocol_version: 1,
    stream_id,
    epoch_uuid,
    epoch_number,
    sequence,
    owner,
    source_scope,
    adapter_instance_id,
    stable_source: true,
  };
}

export interface SnapshotOptions {
  readonly authority: Authority;
  /** 1 after an activation, then one more each time. */
  readonly sequence: number;
  /** A UUID that no other snapshot has. */
  readonly snapshotId: string;
  /** The complete inventory in any order. */
  readonly rows: readonly ScheduleRow[];
  readonly rowsPerFrame?: number | undefined;
  /** Default 700 KiB. */
  readonly maxFrameBytes?: number | undefined;
}

export interface Snapshot extends Digested {
  /** Sorted by `source_key`. */
  readonly rows: readonly ScheduleRow[];
  /** Rows frames in order, then the terminal one: bodies of `schedule.snapshot` events. Resend them unchanged. */
  readonly frames: readonly Digested[];
}

function unique(rows: readonly ScheduleRow[], key: 'name' | 'source_key'): void {
  if (new Set(rows.map((row) => row[key])).size < rows.length) {
    refuse(key, 'different from that of every other schedule');
  }
}

function chunks(rows: readonly ScheduleRow[], perFrame: number, maxBytes: number): ScheduleRow[][] {
  const frames: ScheduleRow[][] = [];
  let bytes = Infinity;
  for (const row of rows) {
    const size = Buffer.byteLength(rowText(row)) + 1;
    if (size + BODY_BYTES > maxBytes) {
      throw new ProtocolError(
        'too_large',
        `Expected a schedule of at most ${maxBytes - BODY_BYTES} bytes, got ${size}`,
      );
    }
    let frame = frames.at(-1);
    if (frame === undefined || frame.length >= perFrame || bytes + size > maxBytes) {
      frame = [];
      frames.push(frame);
      bytes = BODY_BYTES;
    }
    frame.push(row);
    bytes += size;
  }
  return frames;
}

/**
 * A complete inventory under one sequence number (protocol.md §7.4). `text` and `digest` are of the projection, which
 * is hashed and not sent. Throws `ProtocolError` `row` or `too_large`.
 */
export function snapshot(options: SnapshotOptions): Snapshot {
  const { authority, sequence, snapshotId, rowsPerFrame = Infinity, maxFrameBytes = MAX_FRAME_BYTES } = options;
  const rows = [...options.rows].sort((a, b) => compareCodePoints(a.source_key, b.source_key));
  unique(rows, 'source_key');
  unique(rows, 'name');
  const base = common(authority, sequence);
  const all = listed(rows);
  const projection = withRows(
    { ...base, kind: 'snapshot', complete: true, operation_id: null, deleted_source_keys: [] },
    all,
  );
  const parts = chunks(rows, Math.max(rowsPerFrame, 1), maxFrameBytes);
  const frames = [...parts, []].map((schedules, frame_index) =>
    withRows(
      {
        ...base,
        snapshot_id: snapshotId,
        frame_kind: frame_index < parts.length ? 'rows' : 'terminal',
        frame_index,
        frame_count: parts.length,
        row_count: rows.length,
        snapshot_digest: projection.digest,
      },
      schedules.length === rows.length ? all : listed(schedules),
    ),
  );
  return { ...projection, rows, frames };
}

export interface ControlOptions {
  readonly authority: Authority;
  /** `expected_accepted_sequence` + 1. */
  readonly sequence: number;
  readonly operationId: string;
  /** The row as it is after the operation. */
  readonly row: ScheduleRow;
}

/** Body of the `schedule.updated` event that answers `schedule.external.control` (protocol.md §7.6). */
export function controlProjection({ authority, sequence, operationId, row }: ControlOptions): Digested {
  return digested({
    ...common(authority, sequence),
    kind: 'control',
    complete: false,
    operation_id: operationId,
    schedules: [row],
    deleted_source_keys: [],
  });
}

/** Canonical `data` of the `schedule.snapshot` event that carries a frame. */
export function snapshotEventData({ text, digest }: Digested, reason: string): string {
  return `{"external_snapshot_frame":${text},"frame_digest":"${digest}","reason":${canonical(reason)}}`;
}

/** Canonical `data` of the `schedule.updated` event that carries a control projection. */
export function controlEventData({ text, digest }: Digested): string {
  return `{"external_projection":${text},"payload_digest":"${digest}","reason":"external-control"}`;
}
