/** Recurring jobs as schedules. */
import {
  CommandError,
  type JsonValue,
  type Schedule,
  type ScheduleDefinition,
  type Scheduler,
} from '../../src/engine.js';
import { localZone } from '../common.js';
import { connected } from './control.js';
import { type Attrs, definitionsOf, type ForeignAgenda, idOf, timeOf } from './foreign.js';
import { dailyAt, isDaily } from './map.js';
import { memoryIn } from './memory.js';
import { dataOf, replan, rowOf, scheduleName, specOf } from './plan.js';
import { quietly } from './quiet.js';
import { type EngineScope, registry, startedOf } from './registry.js';
import { type Store, storeOf } from './store.js';

interface Found {
  readonly agenda: ForeignAgenda;
  readonly store: Store;
  readonly attrs: Attrs;
  readonly name: string;
}

/** Those of the agendas that take jobs here; a name that two databases have is told apart by its id. */
async function all(engine: EngineScope): Promise<Found[]> {
  const found = new Map<string, Found>();
  for (const agenda of startedOf(engine)) {
    const store = storeOf(agenda);
    if (store === undefined) throw new CommandError('conflict', 'Agenda is not connected to its database');
    for (const attrs of await store.recurring(registry.schedules)) {
      const id = idOf(attrs) ?? '';
      if (!found.has(id)) found.set(id, { agenda, store, attrs, name: scheduleName(attrs) });
    }
  }
  const names = new Set<string>();
  return [...found.values()].map((one) => {
    const name = names.has(one.name) ? `${one.attrs.name}#${idOf(one.attrs)}` : one.name;
    names.add(name);
    return { ...one, name };
  });
}

async function find(engine: EngineScope, name: string): Promise<Found> {
  const found = (await all(engine)).find((one) => one.name === name);
  if (found === undefined) throw new CommandError('not_found', `Agenda has no recurring job ${name}`);
  return found;
}

/** Another time of day. */
function daily({ agenda, attrs }: Found, expression: string): Partial<Attrs> {
  const job = agenda.create(attrs.name, attrs.data);
  const repeatAt = dailyAt(expression) ?? '';
  Object.assign(job.attrs, { repeatAt, nextRunAt: undefined });
  job.computeNextRunAt();
  const { nextRunAt } = job.attrs;
  if (timeOf(nextRunAt) === undefined) {
    throw new CommandError('invalid', `this version of Agenda does not understand the time of day ${repeatAt}`);
  }
  return { repeatAt, nextRunAt };
}

/** Only what cannot be written without the other fields is. */
function changesOf(found: Found, definition: ScheduleDefinition): Partial<Attrs> {
  const { agenda, attrs } = found;
  const { expression, timezone, kind, args, kwargs, enabled } = definition;
  const change: Partial<Attrs> = {};
  if (isDaily(attrs) && (expression === undefined || dailyAt(expression) !== undefined)) {
    // A time of day knows no time zone: the library takes that of its process.
    if (timezone !== undefined && timezone !== localZone()) {
      throw new CommandError(
        'unsupported',
        `repeatAt of Agenda knows no time zone but that of its process, ${localZone()}`,
      );
    }
    if (expression !== undefined && dailyAt(expression) !== attrs.repeatAt)
      Object.assign(change, daily(found, expression));
  } else if (expression !== undefined || timezone !== undefined) {
    const job = agenda.create(attrs.name, attrs.data);
    Object.assign(job.attrs, attrs);
    const spec =
      expression === undefined ? (attrs.repeatInterval ?? '') : specOf({ expression, ...(kind && { kind }) });
    replan(job, spec, timezone ?? attrs.repeatTimezone ?? undefined);
    const { repeatInterval, repeatTimezone, nextRunAt } = job.attrs;
    Object.assign(change, { repeatInterval, repeatTimezone, nextRunAt, repeatAt: null });
  }
  if (args !== undefined || kwargs !== undefined) change.data = dataOf(args, kwargs);
  if (enabled !== undefined) change.disabled = !enabled;
  return change;
}

async function write(found: Found, definition: ScheduleDefinition): Promise<void> {
  const { store, attrs, name } = found;
  const change = changesOf(found, definition);
  if (Object.keys(change).length > 0) await store.write(attrs, change);
  if (definition.enabled === false) registry.disabled.add(name);
  else if (definition.enabled === true) registry.disabled.delete(name);
}

async function create(engine: EngineScope, definition: ScheduleDefinition): Promise<string> {
  const { name, taskName = name, timezone, args, kwargs, enabled } = definition;
  if (taskName === undefined) throw new CommandError('invalid', 'a schedule needs the name of its task');
  if (name !== undefined && name !== taskName) {
    throw new CommandError('unsupported', `Agenda has one schedule a task, and it bears its name: call it ${taskName}`);
  }
  const owner = connected(engine, taskName).find(({ agenda }) => taskName in definitionsOf(agenda));
  if (owner === undefined) throw new CommandError('not_found', `no agenda of this process defines ${taskName}`);
  const rows = await all(engine);
  if (rows.some((one) => one.name === taskName))
    throw new CommandError('conflict', `${taskName} has a schedule already`);
  const { agenda, store } = owner;
  const probe = agenda.create(taskName);
  const spec = specOf(definition);
  // Throws for what the library would store as a job that never runs.
  replan(probe, spec, timezone);
  const options = { skipImmediate: true, ...(timezone === undefined ? {} : { timezone }) };
  const job = await agenda.every(spec, taskName, dataOf(args, kwargs) ?? {}, options);
  if (enabled === false) await store.write(job.attrs, { disabled: true });
  return taskName;
}

/**
 * What operators decided about schedules that code defined while nobody listened. Never rejects: what cannot be done now
 * is done when code defines them again.
 */
export async function putInForce(agenda: ForeignAgenda): Promise<void> {
  try {
    const store = storeOf(agenda);
    for (const attrs of (await quietly(() => store?.recurring(registry.schedules))) ?? []) {
      const row = rowOf(agenda, attrs);
      const wanted = attrs.type === 'single' ? registry.overrides?.(row, true) : undefined;
      if (store === undefined || wanted === undefined) continue;
      const { deleted, enabled, expression, timezone } = wanted;
      const definition: ScheduleDefinition = {
        ...((deleted || enabled !== undefined) && { enabled: deleted ? false : (enabled as boolean) }),
        ...(expression !== undefined && expression !== row.expression && { expression }),
        ...(timezone !== undefined && timezone !== row.timezone && { timezone }),
        ...(wanted.args !== undefined && { args: wanted.args }),
        ...(wanted.kwargs !== undefined && { kwargs: wanted.kwargs }),
      };
      const found = { agenda, store, attrs, name: row.name };
      const change = changesOf(found, definition);
      if (change.disabled === (attrs.disabled === true)) delete change.disabled;
      if (JSON.stringify(change.data) === JSON.stringify(attrs.data)) delete change.data;
      if (Object.keys(change).length > 0) await quietly(() => write(found, definition));
      else if (definition.enabled === false) registry.disabled.add(row.name);
    }
  } catch {
    // The database is away.
  }
}

/** The schedules of one engine. `changed` is kept by it and called with every change. */
export function schedulerOf(engine: EngineScope, listeners: Set<() => void>): Scheduler {
  const list = async (): Promise<readonly Schedule[]> =>
    (await all(engine)).map(({ agenda, attrs, name }) => rowOf(agenda, attrs, name));
  const update = async (name: string, definition: ScheduleDefinition): Promise<void> => {
    const found = await find(engine, name);
    if (definition.name !== undefined && definition.name !== name) {
      throw new CommandError('unsupported', 'a recurring job of Agenda cannot be renamed');
    }
    if (definition.taskName !== undefined && definition.taskName !== found.attrs.name) {
      throw new CommandError('unsupported', 'a recurring job of Agenda keeps its task');
    }
    await write(found, definition);
    engine.schedulesChanged();
  };
  const remove = async (name: string): Promise<void> => {
    const { store, attrs } = await find(engine, name);
    if ((await store.remove([attrs])) === 0) throw new CommandError('not_found', `${name} was gone already`);
    registry.schedules.delete(idOf(attrs) ?? '');
    engine.schedulesChanged();
  };
  return {
    operations: ['create', 'update', 'delete', 'enable', 'disable', 'trigger_now'],
    list: () => quietly(list),
    serves: () => startedOf(engine).length > 0,
    update: (name, definition) => quietly(() => update(name, definition)),
    delete: (name) => quietly(() => remove(name)),
    create: (definition) => quietly(() => create(engine, definition)),
    /** A job of its own: the plan stays as it is, and it runs while the schedule is disabled too. */
    trigger: (name) =>
      quietly(async (): Promise<JsonValue> => {
        const { agenda, attrs } = await find(engine, name);
        const job = await agenda.now(attrs.name, attrs.data);
        return { task_id: idOf(job.attrs) ?? '', engine: engine.name, schedule: name };
      }),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onDefined(override) {
      registry.overrides = override;
      for (const agenda of startedOf(engine)) void putInForce(agenda);
      return () => {
        if (registry.overrides === override) registry.overrides = undefined;
      };
    },
    memory(owner) {
      const [agenda] = startedOf(engine);
      const store = agenda && storeOf(agenda);
      return agenda && store && memoryIn(agenda, store, owner);
    },
    applyOverride: (name, { deleted, ...override }) => quietly(() => (deleted ? remove(name) : update(name, override))),
  };
}
