import { createHash } from 'node:crypto';
import {
  CommandError,
  type Engine,
  type JsonObject,
  type JsonValue,
  type Schedule,
  type ScheduleDefinition,
} from '../engine.js';
import { normaliseRow, rowText, type ScheduleRow } from '../protocol/index.js';

export type Redact = (value: unknown) => JsonValue;

const MAX_ROW_BYTES = 512 * 1024;

const time = (milliseconds: number | undefined): string | null =>
  milliseconds === undefined ? null : new Date(milliseconds).toISOString();

/** What is left of a name after redaction says no longer which one it was. */
function shownName(name: string, redacted: unknown): string {
  if (redacted === name) return name;
  return `${String(redacted).slice(0, 180)}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
}

/**
 * The row of a schedule, redacted before it is hashed: a brain redacts before it checks the digest.
 * Throws a `ProtocolError` for what no brain takes.
 */
export function rowOf(schedule: Schedule, engine: Pick<Engine, 'name'>, owner: string, redact: Redact): ScheduleRow {
  const row = redact({
    name: schedule.name,
    task_name: schedule.taskName,
    kind: schedule.kind,
    expression: schedule.expression,
    timezone: schedule.timezone ?? 'UTC',
    queue: schedule.queue ?? null,
    priority: schedule.priority ?? 'normal',
    args: schedule.args ?? [],
    kwargs: schedule.kwargs ?? {},
    is_enabled: schedule.enabled,
    last_run_at: time(schedule.lastRunAt),
    next_run_at: time(schedule.nextRunAt),
    total_runs: schedule.totalRuns,
    source: schedule.source,
  }) as JsonObject;
  const name = shownName(schedule.name, row.name);
  return normaliseRow({ ...row, name, engine: engine.name, scheduler: owner }, owner);
}

export interface Inventory {
  readonly rows: readonly ScheduleRow[];
  /** The engine's name of a schedule by `source_key`: they differ where a name was redacted. */
  readonly names: ReadonlyMap<string, string>;
  /** Schedules no brain takes, with the reason. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

/** Rows of all schedules of an engine, by unique name; the order does not matter. */
export function inventoryOf(
  schedules: readonly Schedule[],
  engine: Pick<Engine, 'name'>,
  owner: string,
  redact: Redact,
): Inventory {
  const rows: ScheduleRow[] = [];
  const names = new Map<string, string>();
  const refused: { name: string; reason: string }[] = [];
  for (const schedule of schedules) {
    try {
      const row = rowOf(schedule, engine, owner, redact);
      if (names.has(row.source_key)) throw new Error('another schedule is shown under this name');
      if (rowText(row).length > MAX_ROW_BYTES) throw new Error(`it is larger than ${MAX_ROW_BYTES} bytes`);
      names.set(row.source_key, schedule.name);
      rows.push(row);
    } catch (cause) {
      refused.push({ name: schedule.name, reason: (cause as Error).message });
    }
  }
  return { rows, names, refused };
}

const KINDS = ['cron', 'interval', 'clocked'] as const;

/** What an operator may set, out of the `definition` of a native operation. Throws a `CommandError`. */
export function definitionOf(definition: JsonObject): ScheduleDefinition {
  const { name, task_name, kind, expression, timezone, queue, args, kwargs, is_enabled } = definition;
  const known = KINDS.find((each) => each === kind);
  if (kind !== undefined && known === undefined) {
    throw new CommandError('unsupported', `Expected \`kind\` to be one of ${KINDS.join(', ')}, got ${String(kind)}`);
  }
  return {
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof task_name === 'string' ? { taskName: task_name } : {}),
    ...(known === undefined ? {} : { kind: known }),
    ...(typeof expression === 'string' ? { expression } : {}),
    ...(typeof timezone === 'string' ? { timezone } : {}),
    ...(typeof queue === 'string' || queue === null ? { queue } : {}),
    ...(Array.isArray(args) ? { args } : {}),
    ...(typeof kwargs === 'object' && kwargs !== null && !Array.isArray(kwargs)
      ? { kwargs: kwargs as JsonObject }
      : {}),
    ...(typeof is_enabled === 'boolean' ? { enabled: is_enabled } : {}),
  };
}
