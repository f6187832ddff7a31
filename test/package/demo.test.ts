import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const DEMO = fileURLToPath(new URL('../../examples/demo/demo.mjs', import.meta.url));

test('the demo ends by itself and shows every job in its last state', async () => {
  const { REDIS_URL: _, ...env } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, [DEMO], { env, timeout: 55_000 });
  const last = stdout.slice(stdout.lastIndexOf('In the brain:'));
  expect(last).toContain('15 tasks: 13 success, 1 revoked, 1 failure; 2 retries.');
  expect(last).toMatch(/^mail +newsletter +success +2 +\d+ ms/m);
  expect(last).toMatch(/^video +subtitle +failure +2 +\d+ ms +TypeError: No speech found in silent\.mov$/m);
  expect(last).toContain('stayed in the process');
  expect(last).toContain('node --import @z4j/bare/register worker.js');
  // It is a pipe: nothing that only a terminal understands.
  expect(stdout).not.toContain('\x1b');
});
