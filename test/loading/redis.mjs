import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** As in ../support/server.ts: our pipe closes in whatever way this process ends, and the shell ends the server. */
const GUARD = `
exec 4<&0
"$@" </dev/null 4<&- & server=$!
(read -r _ <&4; kill -s KILL "$server"; rm -rf "$0") >/dev/null 2>&1 &
exec 4<&-
wait "$server"
`;

let started;

async function start() {
  const folder = mkdtempSync(join(tmpdir(), 'z4j-redis-'));
  const socket = join(folder, 'redis.sock');
  const settings = ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', folder];
  const guarded = ['-c', GUARD, folder, 'redis-server', ...settings];
  const server = spawn('/bin/sh', guarded, { stdio: ['pipe', 'pipe', 'ignore'], detached: true });
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
  server.stdin.unref();
  return socket;
}

/** The socket of one Redis for all cells; it ends with this process. */
export function redis() {
  started ??= start();
  return started;
}
