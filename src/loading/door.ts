import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type EnginePatch, hub, type Setters } from '../hub.js';
import { manifest, role } from './manifest.js';
import { type Target, targetFile } from './targets.js';

const require = createRequire(import.meta.url);
const patches = new Map<string, EnginePatch>();

/** The patch of an engine; its module loads when the first of its targets does. */
export function patchOf({ engine, patch }: Target): EnginePatch {
  let found = patches.get(patch);
  if (found === undefined) {
    const exports = require(`../../instrumentations/${engine}/patch.js`) as { [name: string]: EnginePatch };
    found = exports[patch] as EnginePatch;
    patches.set(patch, found);
  }
  return found;
}

/**
 * The namespace of an ES module cannot be written to; this view of it can where the module's own code can re-bind the
 * name: imports of it then see the new value, because they are live bindings.
 */
function view(namespace: object, setters: Setters): object {
  const result = {};
  for (const key of Object.keys(namespace)) {
    const get = (): unknown => (namespace as { [key: string]: unknown })[key];
    const set = setters[key];
    let assignable = false;
    try {
      set?.(get());
      assignable = set !== undefined;
    } catch {
      // The name is a constant, an import, or only the name of an export.
    }
    Object.defineProperty(result, key, {
      enumerable: true,
      configurable: true,
      get,
      ...(assignable ? { set } : {}),
    });
  }
  return result;
}

const offered = new Set<unknown>();

/** Every eye ends here: offers a loaded file to the hub when it belongs to a target. Never throws. */
export function see(path: string, exports: unknown, eye: string, setters?: Setters): void {
  const found = targetFile(path);
  if (found === undefined) return;
  const kind = role(found);
  if (kind === undefined || offered.has(exports)) return;
  offered.add(exports);
  const { target, directory } = found;
  const module = {
    package: target.package,
    version: manifest(directory)?.version ?? '0.0.0',
    file: path,
    ...(kind === 'inner' ? { inner: true } : {}),
  };
  if (!hub.enabled(target.engine)) {
    hub.report({ ...module, engine: target.engine, eye, outcome: 'disabled' });
    return;
  }
  try {
    const rebind = setters !== undefined && typeof exports === 'object' && exports !== null;
    hub.offer(patchOf(target), rebind ? view(exports, setters) : exports, module, eye);
  } catch (error) {
    hub.report({ ...module, engine: target.engine, eye, outcome: 'failed', error });
  }
}

/** What the appended code calls. */
export function seeUrl(url: string, exports: unknown, setters?: Setters): void {
  try {
    see(fileURLToPath(url), exports, 'append', setters);
  } catch {
    // Not a file: nothing of ours.
  }
}
