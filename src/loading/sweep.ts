import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers';
import { see } from './door.js';

const { cache } = createRequire(import.meta.url);

/** Finds the target files that were loaded before us, or past us, and offers them late. */
export function sweep(): void {
  // Loaders that supply the source of CommonJS files leave modules without a cache.
  for (const [file, module] of Object.entries(cache ?? {})) {
    if (module?.loaded) see(file, module.exports, 'cache');
  }
}

const PATIENCE_MS = 1000;

/**
 * Offers a file that no eye may have seen: at once where it has run, since the application may use it in the next turn,
 * and else as soon as it has; looked for rarer and rarer, and then given up.
 */
export function seeLater(file: string, delayMs = 0): void {
  const module = cache?.[file];
  if (module?.loaded) see(file, module.exports, 'cache');
  else if (delayMs < PATIENCE_MS) setTimeout(() => seeLater(file, delayMs * 2 + 1), delayMs).unref();
}
