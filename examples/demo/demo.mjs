// `npm run demo`: a stub brain, a worker and a producer under the agent, and the tasks as the brain sees them.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { provision } from '../../test/support/provision.mjs';
import { target } from '../../test/support/targets.mjs';
import { table, totals } from './table.mjs';

const SECONDS = 14;
const SNAPSHOTS = [3, 7];
const ROOT = new URL('../../', import.meta.url);
const HERE = new URL('.', import.meta.url);
const out = process.stdout;

const children = new Set();
const cleanups = [];

function start(command, args, options) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options });
  children.add(child);
  child.ended = once(child, 'close').finally(() => children.delete(child));
  return child;
}

/** Resolves when a child has printed the text; rejects when it ends or 20 s pass before. */
function printed(child, text, what) {
  return new Promise((resolve, reject) => {
    const fail = () => reject(new Error(what));
    const timer = setTimeout(fail, 20_000);
    child.once('close', fail);
    child.once('error', fail);
    child.stdout.on('data', (chunk) => chunk.includes(text) && resolve());
    child.ended.finally(() => clearTimeout(timer)).catch(fail);
  });
}

async function startRedis() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  await printed(start('redis-server', settings), 'Ready to accept connections', 'redis-server did not start');
  return `redis://127.0.0.1:${port}`;
}

/** Lets a Redis that is not ours look as before. */
async function obliterate(folder, url, prefix) {
  const { Queue } = await import(pathToFileURL(join(folder, 'node_modules/bullmq/dist/cjs/index.js')).href);
  for (const name of ['mail', 'video']) {
    const queue = new Queue(name, { connection: { url }, prefix });
    await queue.obliterate({ force: true });
    await queue.close();
  }
}

function show(brain, from, state) {
  const seconds = ((Date.now() - from) / 1000).toFixed(0);
  const heading = `z4j demo, ${seconds} s. In the brain: ${totals(brain.tasks())}`;
  if (!out.isTTY) {
    console.log([`\n${heading}`, ...table(brain.tasks())].join('\n'));
    return;
  }
  const [width = 100, height = 30] = out.getWindowSize();
  const lines = table(brain.tasks(), { rows: height - 6, width: width - 1, color: !process.env.NO_COLOR });
  const up = state.lines > 0 ? `\x1b[${state.lines}A\r\x1b[J` : '';
  state.lines = lines.length + 2;
  out.write(`${up}${heading.slice(0, width - 1)}\n\n${lines.join('\n')}\n`);
}

async function main() {
  await provision(process.env.REDIS_URL ? ['node', 'packages', 'dist'] : ['node', 'packages', 'redis', 'dist']);
  const { stubBrain } = await import(new URL('dist/src/testing/index.js', ROOT).href);
  const folder = await target('bullmq-5.81.5');
  const brain = await stubBrain();
  cleanups.push(() => brain.close());
  const prefix = process.env.REDIS_URL ? `demo-${process.pid}` : 'bull';
  const REDIS_URL = process.env.REDIS_URL || (await startRedis());

  const programs = await mkdtemp(join(folder, 'demo-'));
  cleanups.push(() => rm(programs, { recursive: true, force: true }));
  const env = { PATH: process.env.PATH, HOME: programs, Z4J_SERVICE_NAME: 'demo', ...brain.env };
  const run = async (name) => {
    await copyFile(new URL(name, HERE), join(programs, name));
    const register = new URL('register.mjs', ROOT).href;
    return start(process.execPath, ['--import', register, name], {
      cwd: programs,
      env: { ...env, REDIS_URL, DEMO_PREFIX: prefix },
    });
  };
  const worker = await run('worker.mjs');
  await printed(worker, 'ready', `the worker did not start: is there a Redis at ${REDIS_URL}?`);
  const from = Date.now();
  const producer = await run('producer.mjs');
  producer.stdout.resume();

  const state = { lines: 0 };
  const snapshots = SNAPSHOTS.map((second) => from + second * 1000);
  for (let now = from; now < from + SECONDS * 1000; now = Date.now()) {
    if (out.isTTY) show(brain, from, state);
    else if (now >= snapshots[0]) {
      snapshots.shift();
      show(brain, from, state);
    }
    await sleep(200);
  }
  await producer.ended;
  worker.kill('SIGTERM');
  await worker.ended;
  if (process.env.REDIS_URL) await obliterate(folder, REDIS_URL, prefix);
  show(brain, from, state);
  summary(brain);
}

function summary(brain) {
  const tasks = brain.tasks();
  const retries = tasks.reduce((sum, { retryCount }) => sum + retryCount, 0);
  const { accepted, frames } = brain.counts;
  const workers = brain.workers().map(({ name }) => name);
  const leaked = JSON.stringify(brain.events).includes('never leaves the process');
  console.log(`
${totals(tasks)}; ${retries} retries.
${accepted} events came in ${frames} signed frames from ${workers.length} workers: ${workers.join(', ')}.
The password in one job's data ${leaked ? 'LEAKED' : 'stayed in the process: the brain got [REDACTED]'}.

Your own worker in your own brain (its page Agents makes the token and the secret):

  Z4J_BRAIN_URL=https://brain.example Z4J_TOKEN=… Z4J_HMAC_SECRET=… node --import @z4j/bare/register worker.js
`);
  if (leaked) process.exitCode = 1;
}

async function end() {
  for (const child of children) child.kill('SIGKILL');
  await Promise.allSettled(cleanups.map((cleanup) => cleanup()));
}

process.once('SIGINT', () => end().finally(() => process.exit(130)));
try {
  await main();
} catch (error) {
  console.error(`demo: ${error?.message ?? error}`);
  process.exitCode = 1;
} finally {
  await end();
}
