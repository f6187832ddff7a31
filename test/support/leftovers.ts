import { existsSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const CACHE = new URL('../../.cache/', import.meta.url);

/** The last thing of a run: folders that test processes share, and leave where they are killed at its end. */
export function teardown(): void {
  if (!existsSync(CACHE)) return;
  for (const name of readdirSync(CACHE)) {
    if (/^(?:loading|thread|link)-/.test(name))
      rmSync(fileURLToPath(new URL(name, CACHE)), { recursive: true, force: true });
  }
}
