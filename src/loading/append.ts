import { fileURLToPath } from 'node:url';
import { role } from './manifest.js';
import { type TargetFile, targetFile } from './targets.js';

/** What a `load` hook returns, as far as it concerns us. */
export interface Loaded {
  readonly format?: string | null | undefined;
  readonly source?: string | ArrayBuffer | NodeJS.TypedArray | undefined | null;
}

const CALL = "globalThis[Symbol.for('z4j.bare')]?.loaded?.";

/** The target file behind a module URL; import-in-the-middle's wrapper modules carry the URL of what they wrap. */
export function targetOfUrl(url: string): TargetFile | undefined {
  if (!url.startsWith('file:') || !url.includes('node_modules') || url.includes('iitm=')) return undefined;
  const found = targetFile(fileURLToPath(url));
  return found !== undefined && role(found) !== undefined ? found : undefined;
}

function text(source: NonNullable<Loaded['source']>): string {
  return typeof source === 'string' ? source : new TextDecoder().decode(source);
}

/**
 * Appends one call to the source of a target's module: at its end all its bindings are initialised, and a module may
 * import itself. Nothing is wrapped or re-exported, and where nobody listens the call is a no-op.
 * Pure but for reading the target's package.json; the same function serves both kinds of hooks and the build plugin.
 */
export function append<T extends Loaded>(loaded: T, url: string, found: TargetFile): T {
  const { format, source } = loaded;
  if (source === null || source === undefined) return loaded;
  const id = JSON.stringify(url);
  if (format === 'module') {
    const setters = found.target.rebind?.map((name) => `${name}:(z4jValue)=>{${name}=z4jValue}`).join() ?? '';
    return {
      ...loaded,
      source: `${text(source)}\n;import*as z4jSelf from ${id};${CALL}(${id},z4jSelf,{${setters}});\n`,
    };
  }
  if (format === 'commonjs') return { ...loaded, source: `${text(source)}\n;${CALL}(${id},module.exports);\n` };
  return loaded;
}
