import { existsSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const CACHE = new URL('../../.cache/', import.meta.url);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The last thing of a run: folders that bear the number of a test process, which left them where it was killed. */
export function teardown(): void {
  if (!existsSync(CACHE)) return;
  for (const name of readdirSync(CACHE)) {
    const pid = /^(?:loading|thread|link)-(\d+)/.exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    rmSync(fileURLToPath(new URL(name, CACHE)), { recursive: true, force: true });
  }
}
