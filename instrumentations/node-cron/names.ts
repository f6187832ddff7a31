/** Names that stay the same for the same schedule in every replica and after every deployment. */
import { existsSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shorten } from '../common.js';

export interface CallSite {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

const DEPTH = 30;

/** Files on the stack outside of node-cron and Node, nearest first, from the caller of `below` on. */
export function callSites(below: (...args: never[]) => unknown): CallSite[] {
  const { prepareStackTrace, stackTraceLimit } = Error;
  const holder: { stack?: unknown } = {};
  let sites: NodeJS.CallSite[];
  try {
    Error.stackTraceLimit = DEPTH;
    Error.prepareStackTrace = (_, found) => found;
    Error.captureStackTrace(holder, below);
    sites = holder.stack as NodeJS.CallSite[];
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
  const found: CallSite[] = [];
  for (const site of sites) {
    const name = site.getFileName();
    if (name == null || name.startsWith('node:')) continue;
    const file = name.startsWith('file://') ? fileURLToPath(name) : name;
    if (!isAbsolute(file) || /[/\\]node_modules[/\\]node-cron[/\\]/.test(file)) continue;
    found.push({ file, line: site.getLineNumber() ?? 0, column: site.getColumnNumber() ?? 0 });
  }
  return found;
}

const isForeign = (file: string): boolean => file.includes(`${sep}node_modules${sep}`);

/** The line of the host's own code that asked for the schedule. */
export const caller = (sites: readonly CallSite[]): CallSite | undefined =>
  sites.find(({ file }) => !isForeign(file)) ?? sites[0];

/**
 * node-cron resolves a relative task file against the first frame outside its own file, which is ours now: the same
 * is done here for the frame that it would have found. Where others stand in between, the file that exists decides.
 */
export function taskFile(path: string, sites: readonly CallSite[]): string {
  if (isAbsolute(path) || path.startsWith('file://')) return path;
  const candidates = sites.map(({ file }) => resolve(dirname(file), path));
  return candidates.find((candidate) => existsSync(candidate)) ?? candidates[0] ?? path;
}

const roots = new Map<string, string>();

/** The folder of the package that a file belongs to. */
function rootOf(folder: string): string {
  const known = roots.get(folder);
  if (known !== undefined) return known;
  const parent = dirname(folder);
  const root = existsSync(join(folder, 'package.json')) ? folder : parent === folder ? process.cwd() : rootOf(parent);
  roots.set(folder, root);
  return root;
}

const MAX = 180;

/** `src/jobs.js#sendMail`, or with the expression where the function has no name. */
export function derivedName(handler: unknown, expression: string, site: CallSite | undefined): string {
  const file =
    site === undefined
      ? 'code'
      : relative(rootOf(dirname(site.file)), site.file)
          .split(sep)
          .join('/');
  const own = typeof handler === 'string' ? basename(handler) : (handler as { name?: unknown } | undefined)?.name;
  return shorten(`${file}#${typeof own === 'string' && own !== '' ? own : expression}`, MAX);
}
