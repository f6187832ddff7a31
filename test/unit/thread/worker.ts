import { mkdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Inside the package, so that dependencies are found. */
const folder = new URL(`../../../.cache/thread-${process.pid}/`, import.meta.url);

/** The thread's program as it stands in the source: `vi.mock('…/src/thread/entry.js', () => import('…/worker.js'))`. */
export const ENTRY = new URL('worker.mjs', folder);

mkdirSync(folder, { recursive: true });
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
await build({
  entryPoints: [fileURLToPath(new URL('../../../src/thread/worker.ts', import.meta.url))],
  outfile: fileURLToPath(ENTRY),
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  logLevel: 'silent',
});
