import type { Engine, TaskEvent } from './engine.js';

/** A module of a target as an eye saw it. */
export interface PatchedModule {
  readonly package: string;
  readonly version: string;
  readonly file: string;
  /** A file behind the entry module: only some of them hold something to patch. */
  readonly inner?: boolean;
}

/** The load-time patches of one library: data and one function. */
export interface EnginePatch {
  /** Short name as in `Z4J_ENABLED_INSTRUMENTATIONS`. */
  readonly engine: string;
  readonly packages: readonly string[];
  /** First supported version and first unsupported one, `major.minor.patch`. */
  readonly supported: { readonly from: string; readonly below: string };
  /**
   * Patches what it finds in the exports of an entry module or of an inner file, in place and only once.
   * Returns false when nothing in there has the expected shape.
   */
  patch(exports: unknown, module: PatchedModule): boolean;
}

/** Which target was found, by whom, and what became of it. */
export interface TargetReport extends PatchedModule {
  readonly engine: string;
  /** Who saw it: `append`, `compile`, `require`, `import`, `cache`, `instrument`. */
  readonly eye: string;
  readonly outcome: 'patched' | 'disabled' | 'unsupported version' | 'shape not recognised' | 'failed';
  readonly error?: unknown;
}

/** Takes the events of all instrumentations of this thread. */
export interface Recorder {
  record(event: TaskEvent): void;
  /** First live instance of an engine (a queue, a worker, a schedule). */
  engine(engine: Engine): void;
}

/** Functions that re-bind the function declarations of an ES module, by name; a call throws where that cannot be. */
export type Setters = { readonly [name: string]: (value: unknown) => void };

/** Where eyes, instrumentations and the agent of one thread meet; one per thread, also with two copies installed. */
export interface Hub {
  /** Undefined: nobody listens, an instrumentation builds no event. */
  recorder: Recorder | undefined;
  /** Engines that became live, in that order, by name. */
  readonly engines: Map<string, Engine>;
  readonly targets: TargetReport[];
  /** Whether an instrumentation is wanted; decided once by configuration. */
  enabled: (engine: string) => boolean;
  /** Called after every new report. */
  onTarget: ((report: TargetReport) => void) | undefined;
  /** Called when an engine becomes live, before it stands in `engines` and the recorder hears of it. */
  onLive: ((engine: Engine) => void) | undefined;
  /** What the code appended to a target's modules calls; undefined where no loader is installed. */
  loaded: ((module: PatchedModule, exports: unknown, setters?: Setters) => void) | undefined;
  /** The one door behind all eyes: never throws, any number of times for the same module. */
  offer(patch: EnginePatch, exports: unknown, module: PatchedModule, eye: string): TargetReport['outcome'];
  /** Keeps one report per copy of a library: of its entry module where that was seen, and of success rather than failure by another eye. */
  report(report: TargetReport): void;
  /** Never throws; a recorder that throws is told of once and dropped. */
  record(event: TaskEvent): void;
  /** An engine has its first live instance. Idempotent by name. */
  live(engine: Engine): void;
}

const KEY = Symbol.for('z4j.bare');

function numbers(version: string): [number, number, number] {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.+-]/, 3).map(Number);
  return [major, minor, patch];
}

/** Pre-releases count as the version they lead to; of a version nobody knows (bundled code) the shape decides. */
export function isSupported(version: string, { from, below }: EnginePatch['supported']): boolean {
  const compare = (a: [number, number, number], b: [number, number, number]): number =>
    a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
  const v = numbers(version);
  if (v.some(Number.isNaN)) return true;
  return compare(v, numbers(from)) >= 0 && compare(v, numbers(below)) < 0;
}

/** The folder of the library's copy that a file belongs to; undefined where an eye does not tell the path. */
function copyOf({ package: name, file }: PatchedModule): string | undefined {
  const at = file.replaceAll('\\', '/').lastIndexOf(`/node_modules/${name}/`);
  return at > 0 && /^(?:[\\/]|[a-z]:)/i.test(file) ? file.slice(0, at) : undefined;
}

function isSameCopy(one: PatchedModule, other: PatchedModule): boolean {
  if (one.package !== other.package) return false;
  const [here, there] = [copyOf(one), copyOf(other)];
  return here === undefined || there === undefined ? one.version === other.version : here === there;
}

function supersedes(report: TargetReport, before: TargetReport): boolean {
  if (report.outcome === before.outcome) return before.inner === true && !report.inner;
  return before.outcome !== 'patched' || report.outcome === 'failed';
}

function createHub(): Hub {
  const failed = new Set<string>();
  return {
    recorder: undefined,
    engines: new Map(),
    targets: [],
    enabled: () => true,
    onTarget: undefined,
    onLive: undefined,
    loaded: undefined,
    offer(patch, exports, module, eye) {
      let outcome: TargetReport['outcome'];
      let error: unknown;
      try {
        if (!this.enabled(patch.engine)) outcome = 'disabled';
        else if (failed.has(patch.engine)) outcome = 'failed';
        else if (!isSupported(module.version, patch.supported)) outcome = 'unsupported version';
        else outcome = patch.patch(exports, module) ? 'patched' : 'shape not recognised';
      } catch (cause) {
        failed.add(patch.engine);
        outcome = 'failed';
        error = cause;
      }
      if (module.inner && outcome === 'shape not recognised') return outcome;
      this.report({
        ...module,
        engine: patch.engine,
        eye,
        outcome,
        ...(error === undefined ? {} : { error }),
      });
      return outcome;
    },
    report(report) {
      const known = this.targets.findIndex((other) => isSameCopy(report, other));
      const before = this.targets[known];
      if (before !== undefined && !supersedes(report, before)) return;
      if (known === -1) this.targets.push(report);
      else this.targets[known] = report;
      try {
        this.onTarget?.(report);
      } catch {
        // A listener's fault is the listener's; the module loads.
      }
    },
    record(event) {
      const { recorder } = this;
      if (recorder === undefined) return;
      try {
        recorder.record(event);
      } catch (cause) {
        this.recorder = undefined;
        process.emitWarning(`z4j: events are no longer recorded: ${String(cause)}`);
      }
    },
    live(engine) {
      if (this.engines.has(engine.name)) return;
      try {
        this.onLive?.(engine);
      } catch {
        // As above.
      }
      this.engines.set(engine.name, engine);
      try {
        this.recorder?.engine(engine);
      } catch (cause) {
        process.emitWarning(`z4j: ${engine.name} cannot be reported: ${String(cause)}`);
      }
    },
  };
}

const globals = globalThis as { [KEY]?: Hub };

globals[KEY] ??= createHub();

export const hub: Hub = globals[KEY];
