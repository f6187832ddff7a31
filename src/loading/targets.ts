import type { EnginePatch } from '../hub.js';

/** A library that can be patched, and where in it. */
export interface Target {
  /** Short name as in `Z4J_ENABLED_INSTRUMENTATIONS`; also the folder of its instrumentation. */
  readonly engine: string;
  readonly package: string;
  /** Name of the `EnginePatch` that the engine's `patch.js` exports; the supported versions stand there. */
  readonly patch: string;
  /** Name of the OpenTelemetry plug-in that the engine's `index.js` exports. */
  readonly instrumentation: string;
  /** Files behind the entry modules that hold something to patch, relative to the package. */
  readonly inner?: RegExp;
  /** Function declarations of the ES entry module that the patch wants to re-bind. */
  readonly rebind?: readonly string[];
  /** Versions that do not know what was made of them before they were patched. */
  readonly forgetful?: readonly EnginePatch['supported'][];
}

/** Every library we know. Entry modules are what the library's own package.json names as `main` and `exports["."]`. */
export const TARGETS: readonly Target[] = [
  {
    engine: 'bullmq',
    package: 'bullmq',
    patch: 'bullmqPatch',
    instrumentation: 'BullMQInstrumentation',
    // Deep imports skip the entry, and JobScheduler is not exported before 5.28. Bundlers take dist/esm.
    inner:
      /^dist\/(?:cjs|esm)\/classes\/(?:async-fifo-queue|job|job-scheduler|flow-producer|queue|queue-base|worker)\.js$/,
  },
  { engine: 'agenda', package: 'agenda', patch: 'agendaPatch', instrumentation: 'AgendaInstrumentation' },
  { engine: 'agenda', package: '@hokify/agenda', patch: 'agendaPatch', instrumentation: 'AgendaInstrumentation' },
  {
    engine: 'node-cron',
    package: 'node-cron',
    patch: 'nodeCronPatch',
    instrumentation: 'NodeCronInstrumentation',
    rebind: ['schedule', 'createTask', 'shutdown'],
    forgetful: [
      { from: '2.0.0', below: '3.0.0' },
      { from: '4.0.0', below: '4.2.0' },
    ],
  },
];

export const ENGINES: readonly string[] = [...new Set(TARGETS.map(({ engine }) => engine))];

/** A file inside an installed copy of a target. */
export interface TargetFile {
  readonly target: Target;
  /** The copy's folder, as the path was spelled, with a trailing separator. */
  readonly directory: string;
  /** Relative to the folder, with forward slashes. */
  readonly file: string;
}

const MARK = 'node_modules';

/** Says which target a path or file URL belongs to; called for every module that loads. */
export function targetFile(path: string): TargetFile | undefined {
  const at = path.lastIndexOf(MARK);
  if (at === -1) return undefined;
  const start = at + MARK.length + 1;
  for (const target of TARGETS) {
    const { package: name } = target;
    const end = start + name.length;
    if (path.startsWith(name, start) || (name.includes('/') && path.startsWith(name.replace('/', '\\'), start))) {
      const separator = path[end];
      if (separator !== '/' && separator !== '\\') continue;
      return { target, directory: path.slice(0, end + 1), file: path.slice(end + 1).replaceAll('\\', '/') };
    }
  }
  return undefined;
}
