/**
 * What the agent costs a run: `node bench/runs.mjs [bullmq|node-cron|agenda|agenda-redis] [runs] [windows]` after
 * `npm run build`. `--dist <folder>`, as often as wanted, compares with another build of this package, `--thread` puts
 * the agent into a thread, `--rate <runs/s>` paces BullMQ, `--version` takes another BullMQ.
 *
 * One process without the agent and one with it live side by side and take turns, in ABBA order: windows of so many
 * runs, CPU of the host (user + system) from the first run of a window until the brain has all its events. The brain is
 * the stub, in this process. Where other tenants of the processor may halve its speed at any time, no mean says
 * anything: a fixed piece of work before and after each window tells how fast the machine was, and turns are taken
 * until there are so many windows of each at full speed. Only those count.
 */
import { spawn } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { stubBrain } from '../dist/src/testing/index.js';
import { installTarget, target } from '../test/support/targets.mjs';
import { makeHome, startRedis } from './servers.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    dist: { type: 'string', multiple: true, default: [] },
    thread: { type: 'boolean' },
    rate: { type: 'string', default: '0' },
    version: { type: 'string', default: '5.81.5' },
  },
});
const bullmq = { bullmq: values.version, ioredis: '5' };
const ENGINES = {
  bullmq: { fixture: `bullmq-${values.version}`, install: bullmq, events: 4, goal: 15 },
  'node-cron': { fixture: 'node-cron-4.6.0', events: 5, goal: 30 },
  agenda: { fixture: 'agenda-6.2.6', events: 4, goal: 50 },
  'agenda-redis': { fixture: 'agenda-6.2.6', host: 'agenda', events: 4, goal: 50, redis: true },
};
/** Runs before the first window, so that what is measured is compiled. */
const WARM = 10_000;
const [only = 'all', runs = 1000, windows = 30] = positionals.map((word, i) => (i === 0 ? word : Number(word)));
/** Speed of a window that counts, in parts of the best. */
const FULL = 1.4;
/** Turns for each that is wanted, at most. */
const PATIENCE = 12;
/** Sets of processes: what V8 makes of the same code is not the same in each. */
const ROUNDS = 3;
const packages = { agent: fileURLToPath(new URL('..', import.meta.url)) };
for (const dist of values.dist) packages[basename(dist)] = resolve(dist);
const variants = ['plain', ...Object.keys(packages)];

const redisPort = await startRedis();
const home = makeHome();

/** A host that runs when it is told to. */
async function start(name, { fixture, install, host = name, events, redis }, variant) {
  const folder = install ? await installTarget(fixture, install) : await target(fixture);
  const file = `bench-${host}.mjs`;
  await copyFile(new URL(`./host/${host}-runs.mjs`, import.meta.url), join(folder, file));
  await copyFile(new URL('./host/tell.mjs', import.meta.url), join(folder, 'tell.mjs'));
  const stub = variant === 'plain' ? undefined : await stubBrain({ record: false });
  const flags = stub ? ['--import', pathToFileURL(join(packages[variant], 'register.mjs')).href] : [];
  const child = spawn(process.execPath, [...flags, file], {
    cwd: folder,
    env: {
      ...process.env,
      BENCH_RATE: values.rate,
      ...((redis || name === 'bullmq') && { BENCH_REDIS: redisPort }),
      Z4J_HOME: home,
      // A busy machine must not make the agent leave events out: all of them are waited for.
      Z4J_DELIVERY: 'complete',
      ...(values.thread && { Z4J_THREAD: '1' }),
      ...stub?.env,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const heard = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the host ended early');
    return JSON.parse(value);
  };
  const ask = (what) => {
    child.stdin.write(`${JSON.stringify(what)}\n`);
    return heard();
  };
  let wanted = 0;
  await heard();
  return {
    async window(count) {
      const before = { ...stub?.counts };
      const { wallMs } = await ask({ run: count });
      wanted += count * events;
      while (stub && stub.counts.events < wanted) await new Promise((done) => setTimeout(done, 2));
      const perFrame = stub && (count * events) / (stub.counts.frames - before.frames);
      return { wallMs, perFrame, ...(await ask({ count: true })) };
    },
    async stop() {
      child.stdin.end();
      await new Promise((done) => child.on('exit', done));
      await stub?.close();
    },
  };
}

const quantile = (numbers, share) => numbers.toSorted((a, b) => a - b)[Math.floor((numbers.length - 1) * share)];
const median = (numbers) => quantile(numbers, 0.5);
const told = (numbers, digits = 1) =>
  [0.5, 0.25, 0.75].map((share) => quantile(numbers, share).toFixed(digits)).join(' / ');

for (const name of Object.keys(ENGINES).filter((key) => only === 'all' || only === key)) {
  const engine = ENGINES[name];
  const found = Object.fromEntries(variants.map((variant) => [variant, []]));
  const atFullSpeed = () => {
    const best = Math.min(...variants.flatMap((variant) => found[variant].map(({ speedMs }) => speedMs)));
    return variants.map((variant) => found[variant].filter(({ speedMs }) => speedMs <= best * FULL));
  };
  let turns = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    const hosts = {};
    for (const variant of variants) hosts[variant] = await start(name, engine, variant);
    for (const variant of variants) await hosts[variant].window(WARM);
    const wanted = (windows * round) / ROUNDS;
    do {
      for (const variant of turns % 2 === 0 ? variants : variants.toReversed()) {
        found[variant].push(await hosts[variant].window(runs));
      }
      turns++;
    } while (turns < wanted * PATIENCE && atFullSpeed().some((counted) => counted.length < wanted));
    for (const variant of variants) await hosts[variant].stop();
  }

  console.log(`
${engine.fixture}, Node ${process.version}, windows of ${runs} runs, ${engine.events} events each, goal ${engine.goal} µs, ${turns} turns

| | windows at full speed | CPU, µs a run: median / quartiles | added | main thread | added | wall | events a frame |
|---|---|---|---|---|---|---|---|`);
  const counted = atFullSpeed();
  const perRun = (key) => counted.map((list) => list.map((window) => (window[key] * 1000) / runs));
  const [cpu, main, wall] = [perRun('cpuMs'), perRun('mainMs'), perRun('wallMs')];
  for (const [i, variant] of variants.entries()) {
    const added = (costs) => (i === 0 ? '' : (median(costs[i]) - median(costs[0])).toFixed(1));
    const frames = i === 0 ? '' : median(counted[i].map(({ perFrame }) => perFrame)).toFixed(0);
    console.log(
      `| ${variant} | ${counted[i].length} | ${told(cpu[i])} | ${added(cpu)} | ${told(main[i])} | ${added(main)} | ${told(wall[i])} | ${frames} |`,
    );
  }
}
process.exit(0);
