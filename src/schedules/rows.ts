import { createHash } from 'node:crypto';
import { CommandError, type JsonObject, type JsonValue, type Schedule, type ScheduleDefinition } from '../engine.js';
import { normaliseRow, rowText, type ScheduleRow, withRuns } from '../protocol/index.js';

export type Redact = (value: unknown) => JsonValue;

const MAX_ROW_BYTES = 512 * 1024;

/** What is left of a name after redaction says no longer which one it was. */
function shownName(name: string, redacted: unknown): string {
  if (redacted === name) return name;
  return `${String(redacted).slice(0, 180)}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
}

/** As `normaliseRow` would have it; a time that is none is no time. */
function instant(milliseconds: number | undefined): string | null {
  if (milliseconds === undefined || !(Math.abs(milliseconds) <= 8.64e15)) return null;
  return `${new Date(milliseconds).toISOString().slice(0, -1)}000+00:00`;
}

/**
 * The row of a schedule without the figures of its runs, redacted before it is hashed: a brain redacts before it
 * checks the digest. Throws a `ProtocolError` for what no brain takes.
 */
function configured(schedule: Schedule, engine: string, owner: string, redact: Redact): ScheduleRow {
  const row = redact({
    name: schedule.name,
    task_name: schedule.taskName,
    kind: schedule.kind,
    expression: schedule.expression,
    timezone: schedule.timezone ?? 'UTC',
    queue: schedule.queue ?? null,
    priority: schedule.priority ?? 'normal',
    is_enabled: schedule.enabled,
    source: schedule.source,
  }) as JsonObject;
  const name = shownName(schedule.name, row.name);
  // Each for itself: what is cut because of its size takes nothing else with it.
  const args = redact(schedule.args ?? []);
  const kwargs = redact(schedule.kwargs ?? {});
  return normaliseRow({ ...row, name, args, kwargs, engine, scheduler: owner }, owner);
}

/** Whether `configured` would read the same, arguments aside: those may be other objects each time. */
function isSame(a: Schedule, b: Schedule): boolean {
  return (
    a.name === b.name &&
    a.taskName === b.taskName &&
    a.kind === b.kind &&
    a.expression === b.expression &&
    a.timezone === b.timezone &&
    a.queue === b.queue &&
    a.priority === b.priority &&
    a.enabled === b.enabled &&
    a.source === b.source
  );
}

/** The arguments as a text to compare, since they may be changed in place; undefined when JSON cannot hold them. */
function argumentsOf({ args, kwargs }: Schedule): string | undefined {
  try {
    return args === undefined && kwargs === undefined ? '' : JSON.stringify([args, kwargs]);
  } catch {
    return undefined;
  }
}

export interface Inventory {
  readonly rows: readonly ScheduleRow[];
  /** The engine's name of a schedule by `source_key`: they differ where a name was redacted. */
  readonly names: ReadonlyMap<string, string>;
  /** Schedules no brain takes, with the reason. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

/** A schedule as it was listed last. */
interface Known {
  /** A copy: engines may list the same object again, changed. */
  readonly listed: Schedule;
  readonly arguments: string | undefined;
  /** Its row without the figures of its runs. */
  readonly plain: ScheduleRow;
  row: ScheduleRow;
  lastRunAt: number | undefined;
  nextRunAt: number | undefined;
  totalRuns: number;
}

function update(known: Known, { lastRunAt, nextRunAt, totalRuns }: Schedule): void {
  if (lastRunAt === known.lastRunAt && nextRunAt === known.nextRunAt && totalRuns === known.totalRuns) return;
  const { row, plain } = known;
  known.row = withRuns(plain, {
    last_run_at: lastRunAt === known.lastRunAt ? row.last_run_at : instant(lastRunAt),
    next_run_at: nextRunAt === known.nextRunAt ? row.next_run_at : instant(nextRunAt),
    total_runs: totalRuns,
  });
  Object.assign(known, { lastRunAt, nextRunAt, totalRuns });
}

/**
 * Makes the rows of all schedules of an engine, by unique name; the order does not matter. What did not change since
 * the last time is the same object: redacting and printing it again would be most of the work.
 */
export function inventories(
  engine: string,
  owner: string,
  redact: Redact,
): (schedules: readonly Schedule[]) => Inventory {
  let before = new Map<string, Known>();
  return (schedules) => {
    const rows: ScheduleRow[] = [];
    const names = new Map<string, string>();
    const refused: { name: string; reason: string }[] = [];
    const now: typeof before = new Map();
    for (const schedule of schedules) {
      const given = argumentsOf(schedule);
      let known = before.get(schedule.name);
      try {
        if (
          known === undefined ||
          given === undefined ||
          known.arguments !== given ||
          !isSame(known.listed, schedule)
        ) {
          const plain = configured(schedule, engine, owner, redact);
          if (rowText(plain).length > MAX_ROW_BYTES) throw new Error(`it is larger than ${MAX_ROW_BYTES} bytes`);
          const listed = { ...schedule };
          known = {
            listed,
            arguments: given,
            plain,
            row: plain,
            lastRunAt: undefined,
            nextRunAt: undefined,
            totalRuns: 0,
          };
        }
        const { source_key } = known.plain;
        if (names.has(source_key)) throw new Error('another schedule is shown under this name');
        update(known, schedule);
        names.set(source_key, schedule.name);
        rows.push(known.row);
        now.set(schedule.name, known);
      } catch (cause) {
        refused.push({ name: schedule.name, reason: (cause as Error).message });
      }
    }
    before = now;
    return { rows, names, refused };
  };
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
