import type { Engine, JsonObject, JsonValue, Schedule, ScheduleDefinition } from '../engine.js';
import { normaliseRow, type ScheduleRow } from '../protocol/index.js';

export type Redact = (value: unknown) => JsonValue;

const time = (milliseconds: number | undefined): string | null =>
  milliseconds === undefined ? null : new Date(milliseconds).toISOString();

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
  return normaliseRow({ ...row, engine: engine.name, scheduler: owner }, owner);
}

export interface Inventory {
  readonly rows: readonly ScheduleRow[];
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
  const rows = new Map<string, ScheduleRow>();
  const refused: { name: string; reason: string }[] = [];
  for (const schedule of schedules) {
    try {
      const row = rowOf(schedule, engine, owner, redact);
      if (rows.has(row.name))
        refused.push({ name: schedule.name, reason: 'another schedule is shown under this name' });
      else rows.set(row.name, row);
    } catch (cause) {
      refused.push({ name: schedule.name, reason: (cause as Error).message });
    }
  }
  return { rows: [...rows.values()], refused };
}

/** What an operator may set, out of the `definition` of a native operation. */
export function definitionOf(definition: JsonObject): ScheduleDefinition {
  const { name, task_name, kind, expression, timezone, queue, args, kwargs, is_enabled } = definition;
  return {
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof task_name === 'string' ? { taskName: task_name } : {}),
    ...(kind === 'cron' || kind === 'interval' || kind === 'clocked' ? { kind } : {}),
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
