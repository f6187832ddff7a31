import { fileURLToPath } from 'node:url';
import { manifest, role } from './manifest.js';
import { type TargetFile, targetFile } from './targets.js';

/** What a `load` hook returns, as far as it concerns us. */
export interface Loaded {
  readonly format?: string | null | undefined;
  readonly source?: string | ArrayBuffer | NodeJS.TypedArray | undefined | null;
}

/** The target file behind a module URL; import-in-the-middle's wrapper modules carry the URL of what they wrap. */
export function targetOfUrl(url: string): TargetFile | undefined {
  if (!url.startsWith('file:') || targetFile(url) === undefined || url.includes('iitm=')) return undefined;
  const found = targetFile(fileURLToPath(url));
  return found !== undefined && role(found) !== undefined ? found : undefined;
}

/** Functions that re-bind the module's own function declarations; what is anything else cannot be re-bound. */
function setters(source: string, names: readonly string[] = []): string {
  const declared = names.filter((name) =>
    new RegExp(`(?:^|[\\n;}]|export\\s|async\\s)\\s*function ${name}\\(`).test(source),
  );
  return `{${declared.map((name) => `${name}:(z4jValue)=>{${name}=z4jValue}`).join()}}`;
}

/**
 * The source of a target's module with one call appended: at its end all its bindings are initialised, and a module
 * may import itself (as `self`). Nothing is wrapped or re-exported, and where nobody listens the call does nothing.
 */
export function appendCall(source: string, format: 'module' | 'commonjs', found: TargetFile, self: string): string {
  const { target, directory, file } = found;
  const module = {
    package: target.package,
    version: manifest(directory)?.version,
    file: directory + file,
    ...(role(found) === 'inner' ? { inner: true } : {}),
  };
  const call = `globalThis[Symbol.for('z4j.bare')]?.loaded?.(${JSON.stringify(module)}`;
  if (format === 'commonjs') return `${source}\n;${call},module.exports);\n`;
  return `${source}\n;import*as z4jSelf from ${JSON.stringify(self)};${call},z4jSelf,${setters(source, target.rebind)});\n`;
}

/** The answer of a `load` hook, with the call appended where it is a source; serves both kinds of hooks. */
export function append<T extends Loaded>(loaded: T, url: string, found: TargetFile): T {
  const { format, source } = loaded;
  if (source === null || source === undefined || (format !== 'module' && format !== 'commonjs')) return loaded;
  const text = typeof source === 'string' ? source : new TextDecoder().decode(source);
  return { ...loaded, source: appendCall(text, format, found, url) };
}
