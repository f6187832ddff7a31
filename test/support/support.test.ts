import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { transform } from 'esbuild';
import { expect, test } from 'vitest';
import { runChild } from './child.js';
import { waitFor } from './net.js';
import { startPostgres } from './postgres.js';
import { startRedis } from './redis.js';
import { target } from './targets.mjs';

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function ask(port: number, text: string | Buffer): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(text);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return answer.toString();
}

test('a private Redis answers, and is gone after stop', async () => {
  const redis = await startRedis();
  expect(await ask(redis.port, 'PING\r\n')).toBe('+PONG\r\n');
  await redis.stop();
  expect(alive(redis.pid)).toBe(false);
  await redis.stop();
});

test('a private PostgreSQL accepts connections, and is gone after stop', async () => {
  const postgres = await startPostgres();
  // SSLRequest of the protocol: the answer is one letter.
  expect(await ask(postgres.port, Buffer.from('0000000804d2162f', 'hex'))).toBe('N');
  await postgres.stop();
  expect(alive(postgres.pid)).toBe(false);
});

test('a server ends with the process that started it, even a killed one', async () => {
  const { code } = await transform(await readFile(new URL('./server.ts', import.meta.url)), { loader: 'ts' });
  const start = `const server = await startServer('sh', ['-c', 'echo up; exec sleep 60'], { ready: /up/ });
    console.log(server.pid);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', code + start], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  expect(alive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await waitFor(() => !alive(pid), { what: 'the end of the server' });
});

test('a child resolves the packages of its target and leaves nothing behind', async () => {
  const child = await runChild({
    target: await target('bullmq-5.81.5'),
    program: {
      name: 'program.mjs',
      source: `import { Queue } from 'bullmq'; import { spawn } from 'node:child_process';
        const grandchild = spawn('sleep', ['60']); console.log(typeof Queue, 'grandchild=' + grandchild.pid);`,
    },
    register: false,
  });
  await child.printed(/function grandchild=\d+\n/);
  const grandchild = Number(/grandchild=(\d+)/.exec(child.stdout())?.[1]);
  await child[Symbol.asyncDispose]();
  await waitFor(() => !alive(child.pid) && !alive(grandchild), { what: 'the end of both' });
});
