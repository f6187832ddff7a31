import { createRequire } from 'node:module';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';

const STARTED = Symbol.for('z4j.bare.register');
const { env, versions } = process;

/** PM2's cluster mode puts the application's environment into `process.env` only when the application loads. */
const wanted = () =>
  !/^(1|true|yes|on)$/i.test(env.Z4J_DISABLED ?? '') &&
  (env.Z4J_TOKEN || env.Z4J_TOKEN_FILE || env.pm2_env?.includes('Z4J_TOKEN'));

/** The thread that runs module hooks executes preloads too; a thread of the agent itself must not start another. */
const isHelper = () => !isMainThread && (parentPort === null || workerData?.['z4j.bare.thread'] === true);

const unsupported = () => {
  if (versions.bun) return 'Bun';
  if (versions.deno || globalThis.Deno) return 'Deno';
  if (process.getBuiltinModule('node:sea')?.isSea()) return 'a single executable application';
  if (process.getBuiltinModule('node:v8').startupSnapshot?.isBuildingSnapshot?.()) return 'a start-up snapshot';
  return undefined;
};

/**
 * Runs before the first module of the application because it is synchronous: `--import` does not wait for a dangling
 * `import()`, and a top-level await would make the module impossible to require.
 */
const load = () => {
  const { emitWarning } = process;
  process.emitWarning = (warning, ...rest) => {
    // Node 22.12 announces its first require() of an ES module; the application did not ask for one.
    if (rest[0] !== 'ExperimentalWarning') Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
  try {
    return createRequire(import.meta.url)('./dist/src/register.js');
  } finally {
    process.emitWarning = emitWarning;
  }
};

try {
  if (wanted() && !globalThis[STARTED] && !isHelper()) {
    globalThis[STARTED] = true;
    const host = unsupported();
    if (host === undefined) load().register();
    else process.emitWarning(`z4j: nothing is observed: @z4j/bare needs Node.js, this is ${host}`);
  }
} catch (error) {
  process.emitWarning(`z4j: nothing is observed: ${error?.message ?? error}`);
}
