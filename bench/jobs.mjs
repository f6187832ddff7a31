/**
 * What the agent costs a BullMQ host: `node bench/jobs.mjs [jobs] [rounds] [bullmq version] [--thread] [--rate jobs/s]` after
 * `npm run build`.
 * Pairs in ABBA order; both processes of a pair do the same work against the same Redis; the brain is the stub, in
 * this process. CPU is user + system of the host from the first job until the brain has everything.
 */
import { spawn } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { stubBrain } from '../dist/src/testing/index.js';
import { installTarget } from '../test/support/targets.mjs';
import { makeHome, startRedis } from './servers.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { thread: { type: 'boolean' }, rate: { type: 'string', default: '0' } },
});
const [jobs = 20_000, rounds = 4] = positionals.slice(0, 2).map(Number);
const version = positionals[2] ?? '5.81.5';
const mode = values.thread ? { Z4J_THREAD: '1' } : {};
const WARM = values.rate === '0' ? Math.min(2000, jobs / 5) : 2000;
const EVENTS = 4;
const register = fileURLToPath(new URL('../register.mjs', import.meta.url));
const folder = await installTarget(`bullmq-${version}`, { bullmq: version, ioredis: '5' });
await copyFile(new URL('./host/jobs.mjs', import.meta.url), join(folder, 'bench-jobs.mjs'));

const redisPort = await startRedis();
const home = makeHome();

async function measure(withAgent) {
  const stub = withAgent ? await stubBrain({ record: false }) : undefined;
  const child = spawn(process.execPath, [...(withAgent ? ['--import', register] : []), 'bench-jobs.mjs'], {
    cwd: folder,
    env: {
      ...process.env,
      BENCH_JOBS: jobs,
      BENCH_RATE: values.rate,
      BENCH_REDIS: redisPort,
      Z4J_HOME: home,
      ...stub?.env,
      ...mode,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the host ended early');
    return JSON.parse(value);
  };
  const arrived = async (count) => {
    while (stub !== undefined && stub.counts.events < count) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await next();
  await arrived(WARM * EVENTS);
  const frames = stub?.counts.frames;
  const events = stub?.counts.events;
  child.stdin.write('go\n');
  const { wallMs } = await next();
  await arrived((WARM + jobs) * EVENTS);
  child.stdin.write('count\n');
  const { cpuMs, mainMs, rss } = await next();
  await new Promise((resolve) => child.on('exit', resolve));
  const perFrame = stub && (stub.counts.events - events) / (stub.counts.frames - frames);
  await stub?.close();
  return { wallMs, cpuMs, mainMs, rss, perFrame };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const fixed = (value, digits = 1) => value.toFixed(digits);

const plain = [];
const agent = [];
for (let round = 0; round < rounds; round++) {
  for (const withAgent of round % 2 === 0 ? [false, true] : [true, false]) {
    (withAgent ? agent : plain).push(await measure(withAgent));
  }
}
const pairs = plain.map((a, i) => [a, agent[i]]);
const cost = pairs.map(([a, b]) => ((b.cpuMs - a.cpuMs) * 1000) / jobs);
const ratio = pairs.map(([a, b]) => a.wallMs / b.wallMs);
const row = (what, value) => console.log(`| ${what.padEnd(44)} | ${value} |`);
console.log(
  `bullmq ${version}, node ${process.version}, ${rounds} pairs of ${jobs} jobs, ${EVENTS} events each${values.thread ? ', the agent in a thread' : ''}${values.rate === '0' ? '' : `, ${values.rate} a second`}\n`,
);
row('host CPU without the agent, µs a job', fixed(median(plain.map((a) => (a.cpuMs * 1000) / jobs))));
row('host CPU with the agent, µs a job', fixed(median(agent.map((b) => (b.cpuMs * 1000) / jobs))));
row('added, µs a job: median (each pair)', `${fixed(median(cost))} (${cost.map((c) => fixed(c)).join(', ')})`);
const main = pairs.map(([a, b]) => ((b.mainMs - a.mainMs) * 1000) / jobs);
if (main.every(Number.isFinite)) {
  row('… in its main thread alone', `${fixed(median(main))} (${main.map((c) => fixed(c)).join(', ')})`);
}
row(
  'throughput with ÷ without: median (each pair)',
  `${fixed(median(ratio), 3)} (${ratio.map((r) => fixed(r, 3)).join(', ')})`,
);
row('events a frame', fixed(median(agent.map((b) => b.perFrame))));
row('RSS added, MiB', fixed(median(pairs.map(([a, b]) => (b.rss - a.rss) / 2 ** 20))));
process.exit(0);
