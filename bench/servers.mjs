// What a benchmark runs against: a Redis and a home for journals, both gone when the process ends.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Starts a Redis that keeps nothing on disk; its port. */
export async function startRedis() {
  const port = await freePort();
  const args = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const server = spawn('redis-server', args, { stdio: 'ignore' });
  process.on('exit', () => server.kill());
  return port;
}

/** A folder of its own for `Z4J_HOME`. */
export function makeHome() {
  const home = mkdtempSync(join(tmpdir(), 'z4j-bench-'));
  process.on('exit', () => rmSync(home, { recursive: true, force: true }));
  return home;
}
