import { appendCall, targetOfUrl } from './append.js';
import type { TargetFile } from './targets.js';

/** Distinguishes ES modules from CommonJS, whose format Node itself may ask of the text. */
const ES_SYNTAX = /(?:^|[;}])\s*(?:import|export)\b(?!\s*[(.])/m;

/** Whether Node's module loader is what called. */
function isLoader(): boolean {
  const { prepareStackTrace, stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = 10;
    Error.prepareStackTrace = (_, sites) =>
      sites.some((site) => site.getFileName() === 'node:internal/modules/esm/load');
    return (new Error().stack as unknown) === true;
  } finally {
    if (prepareStackTrace === undefined) Reflect.deleteProperty(Error, 'prepareStackTrace');
    else Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function targetToLoad({ href }: URL): TargetFile | undefined {
  try {
    const found = targetOfUrl(href);
    return found !== undefined && isLoader() ? found : undefined;
  } catch {
    // No URL of a file, or an Error that is frozen.
    return undefined;
  }
}

async function appended(reading: Promise<Buffer>, { href }: URL, found: TargetFile): Promise<Buffer> {
  const content = await reading;
  try {
    const text = content.toString();
    return ES_SYNTAX.test(text) ? Buffer.from(appendCall(text, 'module', found, href)) : content;
  } catch {
    return content;
  }
}

/**
 * Observes the reads of ES modules in this thread, where no hook has moved them to a thread of their own: the loader of
 * Node 20.19 up to 22.14 calls `fs.promises.readFile` with a URL and nothing else. Whoever else reads a file gets what
 * is in it. Throws where the function cannot be replaced.
 */
export function observeReads(): void {
  // Not imported: other Nodes would load them for nothing.
  const { promises } = process.getBuiltinModule('node:fs');
  const { readFile } = promises;
  type Read = (this: unknown, path: unknown, ...rest: unknown[]) => Promise<Buffer>;
  const observer: { readFile: Read } = {
    readFile(path, ...rest) {
      const reading = Reflect.apply(readFile as Read, this, [path, ...rest]);
      const found = path instanceof URL && rest.length === 0 ? targetToLoad(path) : undefined;
      return found === undefined ? reading : appended(reading, path as URL, found);
    },
  };
  Object.defineProperty(observer.readFile, 'length', { value: readFile.length, configurable: true });
  promises.readFile = observer.readFile as typeof readFile;
}
