/**
 * What operators wait for: `node bench/commands.mjs [rounds] [bullmq version]` after `npm run build`.
 * A real host and Redis; the brain is the stub, in this process. Rounds with and without load follow each other; a
 * question of the host's own to the broker, under the same load, is what a command is compared with.
 */
import { spawn } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stubBrain } from '../dist/src/testing/index.js';
import { installTarget } from '../test/support/targets.mjs';
import { makeHome, startRedis } from './servers.mjs';

const [rounds = 3, version = '5.81.5'] = process.argv.slice(2).map((text, at) => (at === 0 ? Number(text) : text));
const RATE = 1000;
const WARM = 150;
const COMMANDS = 300;
const LETTERS = 10_000;
const QUEUES = 100;
const BEATS = 40;
const register = fileURLToPath(new URL('../register.mjs', import.meta.url));
const folder = await installTarget(`bullmq-${version}`, {
  bullmq: version,
  ...(Number(version.split('.')[0]) < 6 ? {} : { ioredis: '5' }),
});
await copyFile(new URL('./host/commands.mjs', import.meta.url), join(folder, 'bench-commands.mjs'));

const redisPort = await startRedis();
const home = makeHome();

/** A fresh host; `ask` resolves with what it says to a step. */
async function startHost() {
  const stub = await stubBrain({ record: false });
  const child = spawn(process.execPath, ['--import', register, 'bench-commands.mjs'], {
    cwd: folder,
    env: {
      ...process.env,
      ...stub.env,
      BENCH_REDIS: redisPort,
      BENCH_DIST: new URL('../dist/src/', import.meta.url).href,
      Z4J_HOME: home,
      Z4J_AGENT_NAME: 'bench',
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the host ended early');
    return JSON.parse(value);
  };
  await next();
  await stub.until(() => stub.connections === 1, 20_000);
  // The first hello may be followed by a second one, with what was found meanwhile.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const act = async (action, parameters) => {
    const { status, result, error } = await stub.command(
      { action, parameters: { engine: 'bullmq', ...parameters } },
      { timeoutMs: 60_000 },
    );
    if (status !== 'success') throw new Error(`${action}: ${status} ${error}`);
    return result;
  };
  return {
    act,
    ask(step, options = {}) {
      child.stdin.write(`${JSON.stringify({ step, ...options })}\n`);
      return next();
    },
    async close() {
      child.stdin.end();
      await new Promise((resolve) => child.once('exit', resolve));
      await stub.close();
    },
  };
}

const percentile = (values, share) =>
  [...values].sort((a, b) => a - b)[Math.min(Math.floor(values.length * share), values.length - 1)];
const median = (values) => percentile(values, 0.5);

/** Actions of one round trip to the broker. */
const ACTIONS = [
  (n) => ['submit_task', { task_name: 'send', queue: 'load', args: [{ n }], kwargs: {} }],
  (n) => ['cancel_task', { task_id: `load:nobody-${n}` }],
  (n) => ['reconcile_task', { task_id: `load:nobody-${n}` }],
];

async function latency(rate) {
  const host = await startHost();
  for (let n = 0; n < WARM; n++) await host.act(...ACTIONS[n % ACTIONS.length](`warm-${n}`));
  await host.ask('load', { rate });
  const answered = [];
  for (let n = 0; n < COMMANDS; n++) {
    const began = performance.now();
    await host.act(...ACTIONS[n % ACTIONS.length](n));
    answered.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const { command, cpu, broker } = await host.ask('taken', { questions: COMMANDS });
  await host.close();
  return { command, cpu, broker, brain: { p50: median(answered), p99: percentile(answered, 0.99) } };
}

async function bulk() {
  const host = await startHost();
  const { ids } = await host.ask('die', { count: LETTERS });
  // What the loop of an idle host is late, for comparison.
  await host.ask('watch');
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const idle = await host.ask('seen');
  await host.ask('watch');
  const began = performance.now();
  const { retried } = await host.act('bulk_retry', { filter: { engine: 'bullmq', task_ids: ids }, max: LETTERS });
  const took = performance.now() - began;
  const seen = await host.ask('seen');
  if (retried !== LETTERS) throw new Error(`${retried} of ${LETTERS} were retried`);
  await host.close();
  return { took, ...seen, idle };
}

async function heartbeats() {
  const host = await startHost();
  const { costs, bytes } = await host.ask('heartbeats', { queues: QUEUES, count: BEATS });
  await host.close();
  return { least: Math.min(...costs), median: median(costs), bytes };
}

const idle = [];
const loaded = [];
const bulks = [];
const beats = [];
for (let round = 0; round < rounds; round++) {
  for (const rate of round % 2 === 0 ? [0, RATE] : [RATE, 0]) (rate === 0 ? idle : loaded).push(await latency(rate));
  bulks.push(await bulk());
  beats.push(await heartbeats());
}

const fixed = (value) => value.toFixed(1);
const list = (values) => `${fixed(median(values))} (${values.map(fixed).join(', ')})`;
const row = (what, value) => console.log(`| ${what.padEnd(58)} | ${value} |`);
console.log(`bullmq ${version}, node ${process.version}, ${rounds} rounds; median (each round)\n`);
for (const [name, found] of [
  ['idle', idle],
  [`${RATE} jobs/s`, loaded],
]) {
  for (const share of ['p50', 'p99']) {
    row(`${name}: command received → result, ${share}, ms`, list(found.map(({ command }) => command[share])));
  }
  row(
    `${name}: ÷ a question of the host to the broker, p50`,
    list(found.map((each) => each.command.p50 / each.broker.p50)),
  );
  row(`${name}: the same, p99`, list(found.map((each) => each.command.p99 / each.broker.p99)));
  row(`${name}: command sent → result at the brain, p50, ms`, list(found.map(({ brain }) => brain.p50)));
  row(`${name}: command sent → result at the brain, p99, ms`, list(found.map(({ brain }) => brain.p99)));
}
row('idle: host CPU a command with all its frames and events, ms', list(idle.map(({ cpu }) => cpu)));
row(`bulk retry of ${LETTERS} dead letters, ms`, list(bulks.map(({ took }) => took)));
row('… host CPU, ms', list(bulks.map(({ cpu }) => cpu)));
row('… event-loop delay p99, ms', list(bulks.map(({ p99 }) => p99)));
row('… of the idle host before it, ms', list(bulks.map((each) => each.idle.p99)));
row('… longest turn, ms', list(bulks.map(({ max }) => max)));
row(`heartbeat with ${QUEUES} queues, host CPU, least, ms`, list(beats.map(({ least }) => least)));
row('… median, ms', list(beats.map((each) => each.median)));
row('… bytes', list(beats.map(({ bytes }) => bytes)));
process.exit(0);
