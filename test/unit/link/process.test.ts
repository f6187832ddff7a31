import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';

/** Inside the package, so that dependencies are found. */
const folder = fileURLToPath(new URL(`../../../.cache/link-${process.pid}/`, import.meta.url));
const child = `${folder}child.mjs`;

beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: [fileURLToPath(new URL('./child.ts', import.meta.url))],
    outfile: child,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Milliseconds the host lived, its output and exit code. */
async function run(brain: StubBrain, how: string, url = brain.url) {
  const begin = performance.now();
  const host = spawn(
    process.execPath,
    [child, JSON.stringify({ url, token: brain.token, secret: brain.secret.toString('base64url') }), how],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let output = '';
  host.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const watchdog = setTimeout(() => host.kill('SIGKILL'), 15_000);
  const [code] = await once(host, 'close');
  clearTimeout(watchdog);
  return { ms: performance.now() - begin, output, code };
}

test.each(['ws', 'longpoll'])('a connected link (%s) does not keep its host alive', async (how) => {
  await using brain = await stubBrain();
  const { code, output } = await run(brain, how);
  expect({ code, output }).toEqual({ code: 0, output: 'connected\n' });
});

test('nor does a brain that stops reading in the middle of a flood', async () => {
  await using brain = await stubBrain();
  const proxy = createServer((client) => {
    const upstream = connect(Number(new URL(brain.url).port), '127.0.0.1');
    client.on('error', () => undefined).on('close', () => upstream.destroy());
    upstream.on('error', () => undefined).on('close', () => client.destroy());
    upstream.on('data', (chunk) => client.write(chunk));
    let seen = 0;
    client.on('data', (chunk) => {
      seen += chunk.length;
      upstream.write(chunk);
      // Acks go on, so the link goes on sending.
      if (seen > 200_000) client.pause();
    });
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { port } = proxy.address() as { port: number };
  const { code } = await run(brain, 'flood', `http://127.0.0.1:${port}`);
  expect(code).toBe(0);
  proxy.close();
});

test('nor does an attempt that gets no answer', async () => {
  await using brain = await stubBrain({ noHelloAck: true });
  expect(await run(brain, 'ws')).toMatchObject({ code: 0, output: '' });
});

test('stop sends what there is, then the process ends', async () => {
  await using brain = await stubBrain();
  expect(await run(brain, 'stop')).toMatchObject({ code: 0 });
  expect(brain.events).toHaveLength(10);
});

test('works in a worker thread', async () => {
  await using brain = await stubBrain();
  const { output } = await run(brain, 'thread');
  expect(output).toContain('thread ended 0');
  expect(brain.events).toHaveLength(10);
  expect(brain.hellos[0]?.workerId).toBe('child-false');
});
