import type { MessagePort } from 'node:worker_threads';
import { append, type Loaded, targetOfUrl } from './append.js';

let port: MessagePort | undefined;

/** Runs in the thread of `module.register()`. */
export function initialize(data: { port: MessagePort }): void {
  port = data.port;
}

type NextLoad = (url: string, context: object) => Promise<Loaded>;

export async function load(url: string, context: object, nextLoad: NextLoad): Promise<Loaded> {
  const loaded = await nextLoad(url, context);
  try {
    const found = targetOfUrl(url);
    if (found === undefined) return loaded;
    // A loader registered after us may still replace a source that Node would have compiled under our eyes.
    if (loaded.format === 'commonjs' && (loaded.source ?? null) === null) port?.postMessage(url);
    return append(loaded, url, found);
  } catch {
    return loaded;
  }
}
