import type { JsonValue, Schedule, ScheduleDefinition, ScheduleOverride, Scheduler } from '../engine.js';
import type { Log } from '../log.js';
import type { TextStore } from './memory.js';

/** The part of a schedule that an operator may change and code sets anew at every start. */
type Wanted = { readonly [K in Lasting]?: ScheduleOverride[K] };
type Lasting = 'enabled' | 'expression' | 'timezone' | 'args' | 'kwargs';

/** What an operator did to one schedule. */
export interface Override {
  /** In force instead of what code says. */
  readonly set: ScheduleOverride;
  /** What code said about the same when the operator decided. */
  readonly code: Wanted;
  /** ISO time of the last decision. */
  readonly at: string;
}

/** A schedule that an operator made; code knows nothing of it. */
export interface Creation {
  readonly definition: ScheduleDefinition & { readonly name: string };
  readonly at: string;
}

/** All decisions about the schedules of one engine, by the engine's name of the schedule. */
export interface Decisions {
  readonly overrides: { readonly [name: string]: Override };
  readonly created: { readonly [name: string]: Creation };
}

const LASTING: readonly Lasting[] = ['enabled', 'expression', 'timezone', 'args', 'kwargs'];
/** How soon what another process of the host stored is in force here, in milliseconds. */
const WATCH_MS = 2000;

export const overridesKey = (engine: string): string => `overrides:${engine}`;

/** A text that cannot be read counts as no decisions. */
export function readDecisions(text: string | undefined): Decisions {
  try {
    const { overrides = {}, created = {} } = JSON.parse(text ?? '{}') as Partial<Decisions>;
    return { overrides, created };
  } catch {
    return { overrides: {}, created: {} };
  }
}

/** Without the decision about `name`; undefined when there is none. */
export function forget({ overrides, created }: Decisions, name: string): Decisions | undefined {
  if (!Object.hasOwn(overrides, name) && !Object.hasOwn(created, name)) return undefined;
  return { overrides: without(overrides, name), created: without(created, name) };
}

const without = <T>(record: { readonly [name: string]: T }, name: string): { readonly [name: string]: T } =>
  Object.fromEntries(Object.entries(record).filter(([key]) => key !== name));

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function saidBy(schedule: Schedule | undefined, key: Lasting): JsonValue | undefined {
  return schedule === undefined ? undefined : (schedule[key] as JsonValue | undefined);
}

function pick(source: object, keys: readonly string[]): Wanted {
  return Object.fromEntries(Object.entries(source).filter(([key, value]) => keys.includes(key) && value !== undefined));
}

export interface LastingOptions {
  readonly engine: string;
  readonly scheduler: Scheduler;
  readonly texts: TextStore;
  readonly log: Log;
  readonly watchMs?: number;
}

export interface LastingScheduler extends Scheduler {
  /** Ends the watch over what siblings decide. */
  close(): void;
}

/**
 * A scheduler whose operators' decisions about schedules that code defines outlive the process: they are kept in
 * `texts` and put in force when code defines the schedule again, here and in the siblings that share the texts. Each
 * setting on its own: what the operator set stays until it is reset, also when code has changed its mind since, which
 * is told once; what the operator left alone is code's. Without `onDefined` nothing is kept: the engine does it.
 * One for each scheduler until it is closed, whoever asks first: as early as possible, since code runs already.
 */
export function lasting(options: LastingOptions): LastingScheduler {
  const { scheduler } = options;
  const known = made.get(scheduler);
  if (known !== undefined) return known;
  const created = decide(options);
  const own: LastingScheduler = {
    ...created,
    close() {
      made.delete(scheduler);
      created.close();
    },
  };
  made.set(scheduler, own);
  return own;
}

const made = new WeakMap<Scheduler, LastingScheduler>();

function decide({ engine, scheduler, texts, log, watchMs = WATCH_MS }: LastingOptions): LastingScheduler {
  const plain: LastingScheduler = {
    operations: scheduler.operations,
    list: () => scheduler.list(),
    create: (definition) => scheduler.create(definition),
    update: (name, definition) => scheduler.update(name, definition),
    delete: (name) => scheduler.delete(name),
    trigger: (name) => scheduler.trigger(name),
    onChange: (listener) => scheduler.onChange(listener),
    ...(scheduler.serves === undefined ? {} : { serves: () => scheduler.serves?.() ?? true }),
    ...(scheduler.memory === undefined ? {} : { memory: (owner: string) => scheduler.memory?.(owner) }),
    close() {},
  };
  if (scheduler.onDefined === undefined) return plain;
  const key = overridesKey(engine);
  /** What code said in this process. */
  const code = new Map<string, Schedule>();
  let text = texts.get(key);
  let decisions = readDecisions(text);
  let creating: string | undefined;

  const store = (next: Decisions): void => {
    decisions = next;
    text = JSON.stringify(next);
    texts.set(key, text);
  };
  /** What a sibling stored meanwhile must not be lost. */
  const current = (): Decisions => {
    const found = texts.get(key);
    if (found !== undefined && found !== text) decisions = readDecisions(found);
    return decisions;
  };

  const remember = (name: string, change: ScheduleOverride): void => {
    const { overrides, created } = current();
    const at = new Date().toISOString();
    const made = created[name];
    if (made !== undefined) {
      const rest = without(created, name);
      if (change.deleted) store({ overrides, created: rest });
      else store({ overrides, created: { ...rest, [name]: { definition: { ...made.definition, ...change }, at } } });
      return;
    }
    const said = code.get(name);
    const before = overrides[name];
    const merged = { ...before?.set, ...pick(change, LASTING) };
    // What code says anyway needs no decision.
    const kept = LASTING.filter((each) => merged[each] !== undefined && !same(merged[each], saidBy(said, each)));
    const rest = without(overrides, name);
    if (change.deleted) store({ overrides: { ...rest, [name]: { set: { deleted: true }, code: {}, at } }, created });
    else if (kept.length === 0) store({ overrides: rest, created });
    else {
      const override = { set: pick(merged, kept), code: said === undefined ? {} : pick(said, kept), at };
      store({ overrides: { ...rest, [name]: override }, created });
    }
  };

  const tellDisagreement = (name: string, { set, code: then }: Override, said: Schedule): void => {
    const changed = LASTING.filter(
      (each) => set[each] !== undefined && each in then && !same(then[each], saidBy(said, each)),
    );
    if (changed.length === 0) return;
    const both = changed.map(
      (each) => `${each} ${JSON.stringify(saidBy(said, each))} (in force: ${JSON.stringify(set[each])})`,
    );
    log.once(
      `override:${engine}:${name}`,
      'warn',
      `the code of ${name} now says ${both.join(', ')}: what the operator set stays until \`z4j-bare schedules reset ${name}\``,
    );
  };

  const create = async (): Promise<void> => {
    const listed = new Set((await scheduler.list()).map((schedule) => schedule.name));
    for (const { definition } of Object.values(decisions.created)) {
      if (listed.has(definition.name)) continue;
      creating = definition.name;
      try {
        await scheduler.create(definition);
      } catch (cause) {
        // Its function may come with the next definition.
        log.debug(`${definition.name} cannot be made again yet: ${String(cause)}`);
      } finally {
        creating = undefined;
      }
    }
  };
  let turn: NodeJS.Immediate | undefined;
  const createSoon = (): void => {
    if (turn !== undefined || Object.keys(decisions.created).length === 0) return;
    turn = setImmediate(() => {
      turn = undefined;
      create().catch((cause: unknown) => log.debug(`schedules of operators: ${String(cause)}`));
    });
  };

  const undefine = scheduler.onDefined((schedule, isStored) => {
    const { name } = schedule;
    if (name === creating || decisions.created[name] !== undefined) return undefined;
    if (isStored) return current().overrides[name]?.set;
    code.set(name, schedule);
    createSoon();
    const override = current().overrides[name];
    if (override === undefined) return undefined;
    if (!override.set.deleted) tellDisagreement(name, override, schedule);
    return override.set;
  });

  /** What a sibling, or the command line, has decided comes into force here. */
  const adopt = async (): Promise<void> => {
    const before = decisions;
    if (texts.get(key) === text) return;
    text = texts.get(key);
    decisions = readDecisions(text);
    for (const name of new Set([...Object.keys(before.overrides), ...Object.keys(decisions.overrides)])) {
      const [was, is] = [before.overrides[name]?.set ?? {}, decisions.overrides[name]?.set ?? {}];
      if (same(was, is)) continue;
      const said = code.get(name);
      const back = said === undefined ? {} : pick(said, Object.keys(was));
      await scheduler.applyOverride?.(name, { ...back, ...is }).catch((cause: unknown) => {
        log.debug(`${name} stays as it is: ${String(cause)}`);
      });
    }
    for (const [name, { definition }] of Object.entries(decisions.created)) {
      const was = before.created[name]?.definition;
      if (was === undefined || same(was, definition)) continue;
      await scheduler.update(name, definition).catch((cause: unknown) => log.debug(`${name}: ${String(cause)}`));
    }
    for (const name of Object.keys(before.created)) {
      if (decisions.created[name] === undefined) await scheduler.delete(name).catch(() => undefined);
    }
    await create();
  };
  const watch = setInterval(() => {
    adopt().catch((cause: unknown) => log.debug(`decisions of siblings: ${String(cause)}`));
  }, watchMs);
  watch.unref();

  return {
    ...plain,
    async create(definition) {
      creating = definition.name;
      try {
        const name = await scheduler.create(definition);
        // A broker keeps it, and whoever takes it out there means it.
        if (scheduler.memory !== undefined) return name;
        const { overrides, created } = current();
        const at = new Date().toISOString();
        store({ overrides, created: { ...created, [name]: { definition: { ...definition, name }, at } } });
        return name;
      } finally {
        creating = undefined;
      }
    },
    async update(name, definition) {
      await scheduler.update(name, definition);
      remember(name, definition);
    },
    async delete(name) {
      await scheduler.delete(name);
      remember(name, { deleted: true });
    },
    close() {
      clearInterval(watch);
      clearImmediate(turn);
      undefine();
    },
  };
}
