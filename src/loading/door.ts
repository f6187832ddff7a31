import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type EnginePatch, hub, type PatchedModule, type Setters } from '../hub.js';
import { manifest, role } from './manifest.js';
import { TARGETS, type Target, targetFile } from './targets.js';

const require = createRequire(import.meta.url);
const patches = new Map<string, EnginePatch>();

type PatchModule = { readonly [name: string]: EnginePatch };

const urlOf = ({ engine }: Target): URL => new URL(`../../instrumentations/${engine}/patch.js`, import.meta.url);

/** The patch of a target; its module loads now if it has not yet. Throws where it cannot be required. */
export function patchOf(target: Target): EnginePatch {
  let found = patches.get(target.engine);
  if (found === undefined) {
    found = (require(fileURLToPath(urlOf(target))) as PatchModule)[target.patch] as EnginePatch;
    patches.set(target.engine, found);
  }
  return found;
}

/** Loads the patch of a target without requiring it: the application may be linking modules that it needs. */
export async function preparePatch(target: Target): Promise<void> {
  const exports = (await import(urlOf(target).href)) as PatchModule;
  patches.set(target.engine, exports[target.patch] as EnginePatch);
}

/**
 * Hands over the patch of a target when the first module of it loads: at once, unless the application is just linking
 * the patch itself. A Node without sound synchronous hooks refuses to require it then.
 */
function withPatch(target: Target, use: (patch: EnginePatch) => void, fail: (error: unknown) => void): void {
  let patch: EnginePatch;
  try {
    patch = patchOf(target);
  } catch {
    import(urlOf(target).href).then((exports: PatchModule) => use(exports[target.patch] as EnginePatch)).catch(fail);
    return;
  }
  use(patch);
}

/**
 * The namespace of an ES module cannot be written to; this view of it can where the module's own code re-binds the
 * name: imports of it then see the new value, because they are live bindings.
 */
function view(namespace: object, setters: Setters): object {
  const result = {};
  for (const key of Object.keys(namespace)) {
    const get = (): unknown => (namespace as { [key: string]: unknown })[key];
    const set = setters[key];
    Object.defineProperty(result, key, { enumerable: true, configurable: true, get, ...(set && { set }) });
  }
  return result;
}

const offered = new WeakSet<object>();

function offer(target: Target, module: PatchedModule, exports: unknown, eye: string, setters?: Setters): void {
  if ((typeof exports !== 'object' && typeof exports !== 'function') || exports === null || offered.has(exports))
    return;
  offered.add(exports);
  const { engine } = target;
  if (!hub.enabled(engine)) {
    hub.report({ ...module, engine, eye, outcome: 'disabled' });
    return;
  }
  withPatch(
    target,
    (patch) => hub.offer(patch, setters === undefined ? exports : view(exports, setters), module, eye),
    (error) => hub.report({ ...module, engine, eye, outcome: 'failed', error }),
  );
}

/** Offers a loaded file to the hub when it belongs to a target; never throws. */
export function see(path: string, exports: unknown, eye: string): void {
  const found = targetFile(path);
  if (found === undefined) return;
  const kind = role(found);
  if (kind === undefined) return;
  const { target, directory } = found;
  const module = { package: target.package, version: manifest(directory)?.version ?? 'unknown', file: path };
  offer(target, kind === 'inner' ? { ...module, inner: true } : module, exports, eye);
}

/** What the appended code calls. */
export function loaded(module: PatchedModule, exports: unknown, setters?: Setters): void {
  const target = TARGETS.find((candidate) => candidate.package === module.package);
  if (target !== undefined) offer(target, module, exports, 'append', setters);
}
