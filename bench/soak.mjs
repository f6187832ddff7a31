/**
 * A long run with an outage: `node bench/soak.mjs [--minutes 30] [--outage 10] [--rate 1000]` after `npm run build`.
 * One host makes `rate` events a second; after a third of the rest of the time the brain is down for `outage` minutes.
 * The brain is the stub, in a process of its own that is killed and started again on the same port.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    outage: { type: 'string', default: '10' },
    rate: { type: 'string', default: '1000' },
  },
});
const [minutes, outage, rate] = [values.minutes, values.outage, values.rate].map(Number);
const home = mkdtempSync(join(tmpdir(), 'z4j-soak-'));
process.on('exit', () => rmSync(home, { recursive: true, force: true }));

const BRAIN = `
  const { stubBrain } = await import(process.argv[1]);
  const [port, token, secret] = JSON.parse(process.argv[2]);
  const more = token ? { token, secret: Buffer.from(secret, 'base64url') } : {};
  const brain = await stubBrain({ record: false, port, ...more });
  console.log(JSON.stringify(brain.env));
  process.on('SIGTERM', () => {
    console.log(JSON.stringify({ events: brain.counts.events }));
    process.exit();
  });
  setInterval(() => undefined, 1000);`;
const stub = new URL('../dist/src/testing/index.js', import.meta.url).href;

async function startBrain(port = 0, token = '', secret = '') {
  const flags = ['--input-type=module', '-e', BRAIN, stub, JSON.stringify([port, token, secret])];
  const child = spawn(process.execPath, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout });
  const [first] = await once(lines, 'line');
  return {
    env: JSON.parse(first),
    /** Resolves with the number of events it took. */
    async stop() {
      const last = once(lines, 'line');
      child.kill('SIGTERM');
      return JSON.parse((await last)[0]).events;
    },
  };
}

const bytesBelow = (folder) =>
  readdirSync(folder, { recursive: true }).reduce((sum, name) => {
    try {
      const found = statSync(join(folder, name));
      return sum + (found.isFile() ? found.size : 0);
    } catch {
      return sum;
    }
  }, 0);

let brain = await startBrain();
const { env } = brain;
const host = spawn(process.execPath, [fileURLToPath(new URL('./host/soak.mjs', import.meta.url)), rate], {
  env: { ...process.env, ...env, Z4J_HOME: home, Z4J_SERVICE_NAME: 'soak', Z4J_DELIVERY: 'complete' },
  stdio: ['pipe', 'pipe', 'inherit'],
});
process.on('exit', () => host.kill('SIGKILL'));

const samples = [];
let phase = 'before';
let done;
createInterface({ input: host.stdout }).on('line', (line) => {
  const sample = JSON.parse(line);
  if (sample.done) done = sample;
  else samples.push({ ...sample, phase, disk: bytesBelow(home) });
});

const around = ((minutes - outage) / 3) * 60_000;
await sleep(around);
phase = 'outage';
let taken = await brain.stop();
await sleep(outage * 60_000);
brain = await startBrain(Number(new URL(env.Z4J_BRAIN_URL).port), env.Z4J_TOKEN, env.Z4J_HMAC_SECRET);
phase = 'after';
await sleep(around * 2);
host.stdin.end();
await once(host, 'exit');
taken += await brain.stop();

/** Of the first five seconds nothing is counted: code is compiled. */
const of = (name) => samples.slice(5).filter((sample) => sample.phase === name);
const most = (name, field) => Math.max(...of(name).map((sample) => sample[field]));
const median = (name, field) => {
  const sorted = of(name)
    .map((sample) => sample[field])
    .sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
};
const mib = (bytes) => bytes / 2 ** 20;
const row = (title, value, digits = 1) =>
  console.log(
    `| ${[title, ...['before', 'outage', 'after'].map((name) => value(name).toFixed(digits))].join(' | ')} |`,
  );

console.log(`${minutes} minutes at ${rate} events/s, the brain down for ${outage} of them; Node ${process.version}\n`);
console.log('| | before | outage | after |\n|---|---|---|---|');
row('RSS, median, MiB', (name) => median(name, 'rss'));
row('RSS, most, MiB', (name) => most(name, 'rss'));
row('RSS, last, MiB', (name) => of(name).at(-1).rss);
row('files of the journal, most, MiB', (name) => mib(most(name, 'disk')));
row('files of the journal, last, MiB', (name) => mib(of(name).at(-1).disk), 2);
row('descriptors, most', (name) => most(name, 'files'), 0);
row('event-loop delay p99 of a second, median, ms', (name) => median(name, 'p99'), 2);
row('event-loop delay p99 of a second, most, ms', (name) => most(name, 'p99'), 2);
row('events waiting, most', (name) => most(name, 'kept'), 0);
console.log(
  `\nevents made ${done.events}, delivered ${taken} (frames that were resent count twice), lost ${samples.at(-1).lost}, all confirmed: ${done.settled}`,
);
