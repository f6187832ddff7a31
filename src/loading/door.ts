import { createRequire } from 'node:module';
import { type EnginePatch, hub, type PatchedModule, type Setters } from '../hub.js';
import { manifest, role } from './manifest.js';
import { TARGETS, type Target, targetFile } from './targets.js';

const require = createRequire(import.meta.url);
const patches = new Map<string, EnginePatch | Error>();

function load({ engine, patch }: Target): EnginePatch | Error {
  try {
    return (require(`../../instrumentations/${engine}/patch.js`) as { [name: string]: EnginePatch })[
      patch
    ] as EnginePatch;
  } catch (error) {
    return error as Error;
  }
}

/** The patch of an engine; its module loads when the first of its targets does. */
function patchOf(target: Target): EnginePatch {
  const found = patches.get(target.engine) ?? load(target);
  patches.set(target.engine, found);
  if (found instanceof Error) throw found;
  return found;
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
  try {
    hub.offer(patchOf(target), setters === undefined ? exports : view(exports, setters), module, eye);
  } catch (error) {
    hub.report({ ...module, engine, eye, outcome: 'failed', error });
  }
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
