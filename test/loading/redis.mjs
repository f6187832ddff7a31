import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let started;

async function start() {
  const folder = mkdtempSync(join(tmpdir(), 'z4j-redis-'));
  const socket = join(folder, 'redis.sock');
  const settings = ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', folder];
  const server = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'ignore'] });
  process.on('exit', () => {
    server.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  const failed = Promise.race([once(server, 'exit'), once(server, 'error')]).then(() => {
    throw new Error('redis-server does not start');
  });
  const ready = (async () => {
    let text = '';
    for await (const chunk of server.stdout) {
      text += chunk;
      if (/ready to accept connections/i.test(text)) break;
    }
  })();
  await Promise.race([ready, failed]);
  failed.catch(() => undefined);
  server.unref();
  return socket;
}

/** The socket of one Redis for all cells; it ends with this process. */
export function redis() {
  started ??= start();
  return started;
}
