/** Plans of recurring jobs, computed by the library itself. */
import { CommandError, type Schedule, type ScheduleDefinition, type ScheduleOverride } from '../../src/engine.js';
import { type Attrs, type ForeignAgenda, type ForeignJob, idOf, isRecurring, timeOf } from './foreign.js';
import { isCron, scheduleRow } from './map.js';
import { registry } from './registry.js';

const intervals = new Map<string, number | undefined>();

/** Milliseconds of a plan in words (`3 minutes`); undefined for cron, and for what the library does not understand. */
export function intervalOf(agenda: ForeignAgenda, attrs: Attrs): number | undefined {
  const { repeatInterval } = attrs;
  if (typeof repeatInterval !== 'string' || isCron(attrs)) return undefined;
  if (!intervals.has(repeatInterval)) {
    const probe = agenda.create(attrs.name);
    const from = new Date();
    Object.assign(probe.attrs, { repeatInterval, lastRunAt: from, nextRunAt: from });
    probe.computeNextRunAt();
    const next = timeOf(probe.attrs.nextRunAt) ?? 0;
    intervals.set(repeatInterval, next > from.getTime() ? next - from.getTime() : undefined);
  }
  return intervals.get(repeatInterval);
}

/** What the library takes for a plan: words for whole seconds, milliseconds for parts, cron as it is. */
export function specOf({ kind, expression }: Pick<ScheduleDefinition, 'kind' | 'expression'>): string | number {
  if (expression === undefined) throw new CommandError('invalid', 'a schedule needs an expression');
  if (kind === 'clocked') {
    throw new CommandError('unsupported', 'Agenda repeats by cron or interval; submit the job instead');
  }
  const seconds = Number(expression);
  if (kind !== 'interval' && Number.isNaN(seconds)) return expression;
  if (!(seconds > 0)) throw new CommandError('invalid', `Expected seconds greater than 0, got ${expression}`);
  return Number.isInteger(seconds) ? `${seconds} seconds` : seconds * 1000;
}

/** Puts a plan into a job: the next run is the first one that the new plan has from now on. */
export function replan(job: ForeignJob, spec: string | number, timezone: string | undefined): void {
  const { attrs } = job;
  const { lastRunAt } = attrs;
  attrs.nextRunAt = new Date();
  let cause: unknown;
  try {
    job.repeatEvery(spec, { skipImmediate: true, ...(timezone === undefined ? {} : { timezone }) });
  } catch (error) {
    cause = error;
  }
  if (timeOf(attrs.nextRunAt) === undefined) {
    throw new CommandError('invalid', `this version of Agenda does not understand the plan ${spec}`, { cause });
  }
  attrs.lastRunAt = lastRunAt;
}

/** The one payload of a job out of the two that a brain knows. */
export function dataOf(args: readonly unknown[] | undefined, kwargs: object | undefined): unknown {
  const named = kwargs !== undefined && Object.keys(kwargs).length > 0;
  if (!named) return args === undefined || args.length < 2 ? args?.[0] : args;
  return args === undefined || args.length === 0 ? kwargs : { ...kwargs, args };
}

/** Jobs of `every()` are one per name; others of that name are told apart by their id. */
export function scheduleName(attrs: Attrs): string {
  return attrs.type === 'single' ? attrs.name : `${attrs.name}#${idOf(attrs)}`;
}

export function rowOf(agenda: ForeignAgenda, attrs: Attrs, name = scheduleName(attrs)): Schedule {
  const totalRuns = registry.counts.get(idOf(attrs) ?? '') ?? 0;
  return scheduleRow(attrs, { name, interval: intervalOf(agenda, attrs), totalRuns });
}

/** What the operator wants goes into the job before the library stores it. */
export function desired(job: ForeignJob): void {
  const { attrs, agenda } = job;
  if (!isRecurring(attrs) || attrs.type !== 'single') return;
  const override = registry.overrides?.(rowOf(agenda, attrs));
  if (registry.disabled.has(attrs.name)) attrs.disabled = true;
  if (override !== undefined) apply(job, override);
}

function apply(job: ForeignJob, { enabled, deleted, expression, timezone, args, kwargs }: ScheduleOverride): void {
  const { attrs } = job;
  // Code that says `every()` wants the document to exist: what was deleted is kept from running.
  if (deleted || enabled === false) attrs.disabled = true;
  if (args !== undefined || kwargs !== undefined) attrs.data = dataOf(args, kwargs);
  if (expression === undefined && timezone === undefined) return;
  const { repeatInterval, repeatTimezone, nextRunAt } = attrs;
  try {
    const spec = expression === undefined ? (repeatInterval ?? '') : specOf({ expression });
    replan(job, spec, timezone ?? repeatTimezone ?? undefined);
  } catch {
    Object.assign(attrs, { repeatInterval, repeatTimezone, nextRunAt });
  }
}
