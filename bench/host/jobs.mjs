// Runs no-op jobs and tells what they cost; a child of ../jobs.mjs, which decides whether the agent is in the process.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';

const JOBS = Number(process.env.BENCH_JOBS);
/** Jobs added a second, evenly; 0: as fast as it goes. */
const RATE = Number(process.env.BENCH_RATE ?? 0);
// A paced host has run for longer than it takes to measure it.
const WARM = RATE > 0 ? 2000 : Math.min(2000, JOBS / 5);
const connection = { host: '127.0.0.1', port: Number(process.env.BENCH_REDIS) };
const name = `bench-${process.pid}`;
const queue = new Queue(name, { connection });
let finished = 0;
let target = 0;
let reached = () => {};
const worker = new Worker(
  name,
  async () => {
    finished += 1;
    if (finished === target) reached();
  },
  { connection, concurrency: 50 },
);

const said = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** Adds and works off so many jobs; resolves when the last processor has run. */
async function run(jobs, rate = 0) {
  target = finished + jobs;
  const done = new Promise((resolve) => {
    reached = resolve;
  });
  const data = (left) => ({ to: 'someone', template: 'welcome', attempt: left });
  const opts = { removeOnComplete: true };
  const started = performance.now();
  for (let added = 0; rate > 0 && added < jobs; added++) {
    const early = started + (added * 1000) / rate - performance.now();
    if (early >= 1) await sleep(early);
    queue.add('send-mail', data(jobs - added), opts);
  }
  for (let left = rate > 0 ? 0 : jobs; left > 0; left -= 500) {
    await queue.addBulk(
      Array.from({ length: Math.min(500, left) }, () => ({ name: 'send-mail', data: data(left), opts })),
    );
  }
  await done;
}

/** CPU of the main thread alone, in milliseconds; undefined where the system does not tell. */
function mainThread() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
  } catch {
    return undefined;
  }
}

await run(WARM);
say({ warm: WARM });
await said.next();
const cpu = process.cpuUsage();
const main = mainThread();
const started = performance.now();
await run(JOBS, RATE);
const wallMs = performance.now() - started;
say({ wallMs });
// The parent answers when everything has arrived at the brain.
await said.next();
const { user, system } = process.cpuUsage(cpu);
const mainMs = main === undefined ? undefined : mainThread() - main;
say({ cpuMs: (user + system) / 1000, mainMs, rss: process.memoryUsage().rss });
await worker.close(true);
await queue.obliterate({ force: true });
await queue.close();
process.exit(0);
