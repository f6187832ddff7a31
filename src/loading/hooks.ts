import * as module from 'node:module';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { append, type Loaded, targetOfUrl } from './append.js';

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

/**
 * Installs the `load` hook that appends to ES entry modules. `missed` hears of target files whose CommonJS source may
 * have been replaced where no eye could see it.
 */
export function installHooks(missed: (file: string) => void): void {
  if (typeof registerHooks === 'function' && hasSoundSyncHooks(process.versions.node)) {
    registerHooks({ load });
    return;
  }
  const { port1, port2 } = new MessageChannel();
  port1.on('message', (url: string) => missed(fileURLToPath(url)));
  port1.unref();
  module.register(new URL('./hooks-thread.js', import.meta.url), { data: { port: port2 }, transferList: [port2] });
}
