import { createRequire } from 'node:module';
import { see } from './door.js';

const { cache } = createRequire(import.meta.url);

/** Finds the target files that were loaded before us, or past us, and offers them late. */
export function sweep(): void {
  // Loaders that supply the source of CommonJS files leave modules without a cache.
  for (const [file, module] of Object.entries(cache ?? {})) {
    if (module?.loaded) see(file, module.exports, 'cache');
  }
}
