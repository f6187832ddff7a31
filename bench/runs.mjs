/**
 * What the agent costs a run of node-cron and of Agenda: `node bench/runs.mjs [node-cron|agenda|agenda-redis] [runs] [rounds]` after
 * `npm run build`; `--dist <folder>` compares with another build of this package in the same rounds. Pairs in ABBA
 * order of child processes that do the same work; the brain is the stub, in this process. CPU is user + system of the
 * host from the first run until the brain has everything.
 */
import { spawn } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { stubBrain } from '../dist/src/testing/index.js';
import { target } from '../test/support/targets.mjs';
import { makeHome, startRedis } from './servers.mjs';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { dist: { type: 'string' } } });
const ENGINES = {
  'node-cron': { fixture: 'node-cron-4.6.0', host: 'cron-runs.mjs', events: 5, runs: 20_000, goal: 30 },
  agenda: { fixture: 'agenda-6.2.6', host: 'agenda-runs.mjs', events: 4, runs: 10_000, goal: 50 },
  'agenda-redis': { fixture: 'agenda-6.2.6', host: 'agenda-runs.mjs', events: 4, runs: 2000, goal: 50, redis: true },
};
const [only, runsWanted, roundsWanted] = positionals;
const chosen = Object.keys(ENGINES).filter((name) => only === undefined || only === 'all' || only === name);
const rounds = Number(roundsWanted ?? 4);
const packages = { agent: fileURLToPath(new URL('..', import.meta.url)) };
if (values.dist !== undefined) packages.other = resolve(values.dist);

const redisPort = await startRedis();
const home = makeHome();

async function measure({ folder, events, host, redis }, runs, variant) {
  const warm = Math.min(2000, runs / 2);
  const stub = variant === 'plain' ? undefined : await stubBrain({ record: false });
  const register = stub && pathToFileURL(join(packages[variant], 'register.mjs')).href;
  const child = spawn(process.execPath, [...(register ? ['--import', register] : []), `bench-${host}`], {
    cwd: folder,
    env: {
      ...process.env,
      BENCH_RUNS: runs,
      BENCH_WARM: warm,
      ...(redis && { BENCH_REDIS: redisPort }),
      Z4J_HOME: home,
      // A busy machine must not make the agent leave events out: all of them are waited for.
      Z4J_DELIVERY: 'complete',
      ...stub?.env,
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
    while (stub !== undefined && stub.counts.events < count) await new Promise((done) => setTimeout(done, 5));
  };
  await next();
  await arrived(warm * events);
  const before = { ...stub?.counts };
  child.stdin.write('go\n');
  const { wallMs } = await next();
  await arrived((warm + runs) * events);
  child.stdin.write('count\n');
  const { cpuMs, mainMs } = await next();
  await new Promise((done) => child.on('exit', done));
  const perFrame = stub && (stub.counts.events - before.events) / (stub.counts.frames - before.frames);
  await stub?.close();
  return { wallMs, cpuMs, mainMs, perFrame };
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const fixed = (value, digits = 1) => value.toFixed(digits);
const row = (what, value) => console.log(`| ${what.padEnd(46)} | ${value} |`);

for (const name of chosen) {
  const engine = ENGINES[name];
  const runs = Number(runsWanted ?? engine.runs);
  const folder = await target(engine.fixture);
  for (const file of [engine.host, 'tell.mjs']) {
    await copyFile(
      new URL(`./host/${file}`, import.meta.url),
      join(folder, file === 'tell.mjs' ? file : `bench-${file}`),
    );
  }
  const variants = ['plain', ...Object.keys(packages)];
  const found = Object.fromEntries(variants.map((variant) => [variant, []]));
  for (let round = 0; round < rounds; round++) {
    for (const variant of round % 2 === 0 ? variants : variants.toReversed()) {
      found[variant].push(await measure({ ...engine, folder }, runs, variant));
    }
  }
  const perRun = (variant, key) => found[variant].map((one) => (one[key] * 1000) / runs);
  const added = (variant, key) => perRun(variant, key).map((cost, i) => cost - perRun('plain', key)[i]);
  const told = (numbers, digits) =>
    `${fixed(median(numbers), digits)} (${numbers.map((n) => fixed(n, digits)).join(', ')})`;
  console.log(
    `\n${engine.fixture}, node ${process.version}, ${rounds} rounds of ${runs} runs, ${engine.events} events each, goal ${engine.goal} µs\n`,
  );
  row('host CPU without the agent, µs a run', told(perRun('plain', 'cpuMs')));
  for (const variant of Object.keys(packages)) {
    row(`added by ${variant}, µs a run: median (each)`, told(added(variant, 'cpuMs')));
    row(`… in its main thread alone`, told(added(variant, 'mainMs')));
    const least = (key) => fixed(Math.min(...perRun(variant, key)) - Math.min(...perRun('plain', key)));
    row(`… least with it − least without, all and main`, `${least('cpuMs')}, ${least('mainMs')}`);
    row('… events a frame', told(found[variant].map(({ perFrame }) => perFrame)));
    row(
      `throughput with ${variant} ÷ without`,
      told(
        found.plain.map(({ wallMs }, i) => wallMs / found[variant][i].wallMs),
        3,
      ),
    );
  }
  if (packages.other !== undefined) {
    row(
      'added by agent ÷ added by other',
      told(
        added('agent', 'cpuMs').map((cost, i) => cost / added('other', 'cpuMs')[i]),
        2,
      ),
    );
  }
}
process.exit(0);
