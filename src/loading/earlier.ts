import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hub } from '../hub.js';
import { targetOfUrl } from './append.js';
import { preparePatch, see } from './door.js';
import { manifest, role } from './manifest.js';
import { TARGETS, type Target } from './targets.js';

const require = createRequire(import.meta.url);

function isInstalled({ package: name }: Target): boolean {
  const places = [process.argv[1], join(process.cwd(), 'x')].filter((place) => place !== undefined);
  const folders = places.flatMap((place) => createRequire(place).resolve.paths(name) ?? []);
  return process.versions.pnp !== undefined || folders.some((folder) => existsSync(join(folder, name)));
}

/** Nobody but a debugger is told which ES modules a thread has: a tenth of a second, so only where it can matter. */
function scripts(): readonly string[] {
  const { Session } = require('node:inspector') as typeof import('node:inspector');
  const session = new Session();
  session.connect();
  try {
    const urls: string[] = [];
    session.on('Debugger.scriptParsed', ({ params }) => urls.push(params.url));
    session.post('Debugger.enable');
    session.post('Debugger.disable');
    return urls;
  } finally {
    session.disconnect();
  }
}

/**
 * Finds the ES modules of targets that were loaded before us, which stand in no cache that can be read, and offers
 * them. `partly` hears of those that had to be re-bound as they loaded: what was imported from them by name is out of
 * reach. Never rejects.
 */
export async function seeEarlier(partly: (library: string) => void): Promise<void> {
  try {
    if (!TARGETS.some(isInstalled)) return;
    for (const url of scripts()) {
      const found = targetOfUrl(url);
      if (found === undefined || role(found) !== 'entry' || require.cache?.[fileURLToPath(url)] !== undefined) continue;
      const { target, directory } = found;
      if (hub.enabled(target.engine)) await preparePatch(target);
      // One that was loaded is not loaded again.
      see(fileURLToPath(url), await import(url), 'cache');
      if (target.rebind !== undefined) partly(`${target.package} ${manifest(directory)?.version}`);
    }
  } catch {
    // No inspector in this Node, or not permitted: what was loaded earlier is not found.
  }
}
