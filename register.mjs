// Without a token this file is all that loads: what it needs of Node it takes when it is sure to be wanted.
const STARTED = Symbol.for('z4j.bare.register');
const { env, versions } = process;
const builtin = (name) => process.getBuiltinModule(name);

/** PM2's cluster mode puts the application's environment into `process.env` only when the application loads. */
const wanted = () =>
  !/^(1|true|yes|on)$/i.test(env.Z4J_DISABLED ?? '') &&
  (env.Z4J_TOKEN || env.Z4J_TOKEN_FILE || env.pm2_env?.includes('Z4J_TOKEN'));

/** The thread that runs module hooks executes preloads too; a thread of the agent itself must not start another. */
const isHelper = () => {
  // What Node marks so in every thread but the main one, which need not load the rest to know.
  if (!process.chdir.disabled) return false;
  const { parentPort, workerData } = builtin('node:worker_threads');
  return parentPort === null || workerData?.['z4j.bare.thread'] === true;
};

const unsupported = () => {
  if (versions.bun) return 'Bun';
  if (versions.deno || globalThis.Deno) return 'Deno';
  if (builtin('node:sea')?.isSea()) return 'a single executable application';
  if (process.execArgv.some((flag) => flag.startsWith('--build-snapshot'))) return 'a start-up snapshot';
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
    return builtin('node:module').createRequire(import.meta.url)('./dist/src/register.js');
  } finally {
    process.emitWarning = emitWarning;
  }
};

try {
  if (wanted() && !globalThis[STARTED]) {
    globalThis[STARTED] = true;
    const host = unsupported();
    if (host === undefined) {
      if (!isHelper()) load().register();
    } else process.emitWarning(`z4j: nothing is observed: @z4j/bare needs Node.js, this is ${host}`);
  }
} catch (error) {
  process.emitWarning(`z4j: nothing is observed: ${error?.message ?? error}`);
}
