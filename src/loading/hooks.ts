import module from 'node:module';
import { fileURLToPath } from 'node:url';
import { append, type Loaded, targetOfUrl } from './append.js';
import { observeReads } from './reads.js';

type SyncLoad = (url: string, context: object, nextLoad: (url: string, context: object) => Loaded) => Loaded;

const registerHooks = (module as unknown as { registerHooks?: (hooks: { load: SyncLoad }) => unknown }).registerHooks;

/** Before these versions a synchronous `load` hook breaks CommonJS: https://github.com/nodejs/node/issues/59929 */
export function hasSoundSyncHooks(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  if (major === 22) return minor > 22 || (minor === 22 && patch >= 3);
  if (major === 24) return minor > 11 || (minor === 11 && patch >= 1);
  if (major === 25) return minor >= 1;
  return major > 25;
}

const load: SyncLoad = (url, context, nextLoad) => {
  const loaded = nextLoad(url, context);
  try {
    const found = targetOfUrl(url);
    return found === undefined ? loaded : append(loaded, url, found);
  } catch {
    return loaded;
  }
};

/** Whether a thread runs hooks of `module.register()`; only Node itself knows, and this list of it tells. */
const isHooked = (): boolean =>
  (process as { moduleLoadList?: readonly string[] }).moduleLoadList?.includes(
    'NativeModule internal/modules/esm/hooks',
  ) !== false;

/** A policy of Node 20 compares what is read with what it knows of it. */
const hasPolicy = (): boolean => /--experimental-policy/.test([...process.execArgv, process.env.NODE_OPTIONS].join());

function installInThread(missed: (file: string) => void): void {
  const { port1, port2 } = new MessageChannel();
  port1.on('message', (url: string) => missed(fileURLToPath(url)));
  port1.unref();
  module.register(new URL('./hooks-thread.js', import.meta.url), { data: { port: port2 }, transferList: [port2] });
}

/** A thread of hooks costs a start tens of milliseconds and each module a part of one; so only beside one of the host. */
function installBeside(missed: (file: string) => void, fail: (error: unknown) => void): void {
  observeReads();
  const onWorker = (): void => {
    if (!isHooked()) return;
    process.off('worker', onWorker);
    try {
      installInThread(missed);
    } catch (error) {
      fail(error);
    }
  };
  process.on('worker', onWorker);
}

/**
 * Appends to ES entry modules as they load. `missed` hears of target files whose CommonJS source may have been replaced
 * where no eye could see it; `fail` of why ES modules are not seen.
 */
export function installHooks(missed: (file: string) => void, fail: (error: unknown) => void): void {
  try {
    if (registerHooks === undefined && !isHooked() && !hasPolicy()) installBeside(missed, fail);
    else if (registerHooks !== undefined && hasSoundSyncHooks(process.versions.node)) registerHooks({ load });
    else installInThread(missed);
  } catch (error) {
    fail(error);
  }
}
