import { type EnginePatch, hub } from '../../src/engine.js';
import { guard, type Method, original, wrap } from '../common.js';
import { generation, type Task } from './foreign.js';
import { ENGINE } from './map.js';
import { type CallSite, caller, callSites, derivedName, taskFile } from './names.js';
import { observe, watched } from './observe.js';
import { defaultEngine, enforce } from './operate.js';
import { type Copy, changed, type Entry, freeName, registry, rowOf } from './registry.js';

/** What an entry module of node-cron exports, in any of its shapes. */
interface Surface {
  schedule?: Method;
  createTask?: Method;
  shutdown?: Method;
  validate?: (expression: string) => boolean;
  getTasks?: () => Map<string, Task>;
  default?: Surface;
  nodeCron?: Surface;
}

/** A call of `schedule` or `createTask` on its way. */
interface Definition {
  readonly args: unknown[];
  readonly entry: Entry;
  /** The host's options, without a name of its choice. */
  readonly unnamed: { name?: string } | undefined;
}

/** The handler of the definition under way: `schedule` calls `createTask` with it. */
let outer: { readonly handler: unknown } | undefined;

/** The host's code inside of a definition (3.x `runOnInit`) may define schedules of its own. */
function outside<T>(call: () => T): T {
  const saved = outer;
  outer = undefined;
  try {
    return call();
  } finally {
    outer = saved;
  }
}

/** Names that 3.x wrote into option objects of the host: shared ones would hand them on as if they were given. */
const written = new WeakMap<object, string>();

function givenName(options: unknown): string | undefined {
  if (typeof options !== 'object' || options === null) return undefined;
  const { name } = options as { name?: unknown };
  return typeof name === 'string' && name !== '' && written.get(options) !== name ? name : undefined;
}

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

function entryFor(copy: Copy, name: string, expression: string, handler: unknown, more: Partial<Entry>): Entry {
  return {
    name,
    taskName: registry.creating ?? name,
    copy,
    handler,
    createdBy: registry.creating === undefined ? 'code' : 'operator',
    definedAt: undefined,
    task: undefined as unknown as Task,
    generation: Number.parseInt(copy.version, 10) as Entry['generation'],
    expression,
    timezone: undefined,
    call: undefined,
    runs: new Map(),
    invokers: [],
    totalRuns: 0,
    lastRunAt: undefined,
    skipped: 0,
    overlap: false,
    maxReached: false,
    missed: undefined,
    frozen: undefined,
    ...more,
  };
}

const at = (site: CallSite | undefined): string | undefined => site && `${site.file}:${site.line}:${site.column}`;

const begin = guard('schedules of node-cron', (copy: Copy, called: unknown[], below: Method): Definition => {
  const [pattern, handler, options] = called;
  const sites = callSites(below);
  const site = caller(sites);
  const expression = String(pattern);
  const given = givenName(options);
  const name = freeName(given ?? derivedName(handler, expression, site));
  const timezone = text((options as { timezone?: unknown } | null | undefined)?.timezone);
  const entry = entryFor(copy, name, expression, handler, { timezone, definedAt: at(site) });
  const args = [...called];
  if (entry.generation === 4) {
    if (typeof handler === 'string') args[1] = taskFile(handler, sites);
  } else if (typeof handler === 'function') {
    entry.call = watched(entry, handler as Method, outside);
    args[1] = entry.call;
  }
  const unnamed = given === undefined && typeof options === 'object' && options !== null ? options : undefined;
  return { args, entry, unnamed };
});

function add(entry: Entry, task: Task): void {
  entry.task = task;
  entry.generation = generation(task);
  registry.entries.set(entry.name, entry);
  registry.byTask.set(task, entry);
  observe(entry, task);
  const override = registry.overrides?.(rowOf(entry));
  if (override !== undefined) enforce(entry, override);
  changed('defined', entry);
  hub.live(defaultEngine());
}

const finish = guard('schedules of node-cron', ({ entry, unnamed }: Definition, task: unknown): void => {
  if (unnamed?.name !== undefined) written.set(unnamed, unnamed.name);
  if (typeof task === 'object' && task !== null && !registry.byTask.has(task as Task)) add(entry, task as Task);
});

function watchedDefine(copy: Copy, stands: Method): Method {
  return function define(this: unknown, ...args) {
    if (outer !== undefined && outer.handler === args[1]) return Reflect.apply(stands, this, args);
    const definition = begin(copy, args, define);
    if (definition === undefined) return Reflect.apply(stands, this, args);
    const saved = outer;
    outer = { handler: definition.args[1] };
    let task: unknown;
    try {
      task = Reflect.apply(stands, this, definition.args);
    } finally {
      outer = saved;
    }
    finish(definition, task);
    return task;
  };
}

/** What `shutdown()` stops and destroys is neither disabled nor deleted: the process ends. */
function watchedShutdown(copy: Copy, stands: Method): Method {
  const freeze = guard('the shutdown of node-cron', () => {
    for (const entry of registry.entries.values()) if (entry.copy === copy) entry.frozen = rowOf(entry);
  });
  return function (this: unknown, ...args) {
    freeze();
    return Reflect.apply(stands, this, args);
  };
}

function surfaces(exports: unknown): Surface[] {
  const found = new Set<Surface>();
  const visit = (surface: Surface | undefined, depth: number): void => {
    if ((typeof surface !== 'object' && typeof surface !== 'function') || surface === null || found.has(surface))
      return;
    found.add(surface);
    if (depth === 0) return;
    visit(surface.default, depth - 1);
    visit(surface.nodeCron, depth - 1);
  };
  visit(exports as Surface, 2);
  return [...found];
}

/** Tasks that were made before the patch, where the library can tell them. */
function adopt(copy: Copy, tasks: Map<string, Task>): void {
  for (const task of tasks.values()) {
    if (registry.byTask.has(task)) continue;
    const matcher = task._scheduler?.timeMatcher as { pattern?: string } | undefined;
    const expression = task.cronExpression ?? matcher?.pattern ?? '';
    const { id, name } = task as { id?: string; name?: string };
    const given = name ?? task.options?.name;
    const own = given !== id && !/^[\da-f]{8}-[\da-f-]{27}$/.test(given ?? '') ? given : undefined;
    const handler = task._task?._execution ?? task.taskPath;
    const timezone = text(task.timezone ?? task.options?.timezone);
    const entry = entryFor(copy, freeName(own ?? derivedName(undefined, expression, undefined)), expression, handler, {
      timezone,
    });
    if (task._task !== undefined) {
      entry.call = watched(entry, task._task._execution, outside);
      task._task._execution = entry.call;
    }
    add(entry, task);
  }
}

/** node-cron 2–4: there is no class to patch, only the functions that make tasks, wherever they appear. */
export const nodeCronPatch: EnginePatch = {
  engine: ENGINE,
  packages: ['node-cron'],
  supported: { from: '2.0.0', below: '5.0.0' },
  patch(exports, { version }) {
    const found = surfaces(exports);
    const main = found.find(({ schedule }) => typeof schedule === 'function');
    if (main?.schedule === undefined) return false;
    const wrappers = new Map<Method, Method>();
    const copy: { -readonly [K in keyof Copy]: Copy[K] } = {
      version,
      schedule: main.schedule,
      validate: main.validate,
    };
    const once =
      (make: (copy: Copy, stands: Method) => Method) =>
      (stands: Method): Method => {
        const wrapper = wrappers.get(stands) ?? make(copy, stands);
        wrappers.set(stands, wrapper);
        return wrapper;
      };
    const known = original(main.schedule) !== main.schedule;
    let patched = false;
    for (const surface of found) {
      if (wrap(surface, 'schedule', once(watchedDefine))) patched = true;
      wrap(surface, 'createTask', once(watchedDefine));
      wrap(surface, 'shutdown', once(watchedShutdown));
    }
    copy.schedule = main.schedule;
    const tasks = found.find(({ getTasks }) => typeof getTasks === 'function')?.getTasks?.();
    if (!known && tasks instanceof Map) guard('earlier schedules of node-cron', adopt)(copy, tasks);
    return patched;
  },
};
