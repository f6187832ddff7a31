import { readFileSync } from 'node:fs';
import type { TargetFile } from './targets.js';

interface Manifest {
  readonly version: string;
  readonly entries: ReadonlySet<string>;
}

const manifests = new Map<string, Manifest | undefined>();

function collect(node: unknown, into: Set<string>): void {
  if (typeof node === 'string') into.add(node.replace(/^\.\//, ''));
  else if (typeof node === 'object' && node !== null) for (const value of Object.values(node)) collect(value, into);
}

function read(directory: string): Manifest | undefined {
  try {
    const { version, main, module, exports } = JSON.parse(readFileSync(`${directory}package.json`, 'utf8')) as {
      version?: unknown;
      main?: unknown;
      module?: unknown;
      exports?: unknown;
    };
    const entries = new Set<string>();
    if (typeof exports === 'object' && exports !== null && '.' in exports) collect(exports['.'], entries);
    else if (exports !== undefined) collect(exports, entries);
    collect(module, entries);
    const path = typeof main === 'string' ? main.replace(/^\.\//, '').replace(/\/$/, '') : 'index.js';
    for (const candidate of [path, `${path}.js`, `${path}/index.js`]) entries.add(candidate);
    return { version: String(version), entries };
  } catch {
    // Not readable as a package: not the library we know.
    return undefined;
  }
}

/** Version and entry modules of an installed copy, by its folder with a trailing separator; read once. */
export function manifest(directory: string): Manifest | undefined {
  if (!manifests.has(directory)) manifests.set(directory, read(directory));
  return manifests.get(directory);
}

/** Whether a file is of interest: `entry`, `inner` (a file with something to patch behind the entry) or neither. */
export function role({ target, directory, file }: TargetFile): 'entry' | 'inner' | undefined {
  if (target.inner?.test(file)) return 'inner';
  return manifest(directory)?.entries.has(file) ? 'entry' : undefined;
}
