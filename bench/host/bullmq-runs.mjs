// Runs no-op jobs of BullMQ and tells what they cost; a child of ../runs.mjs.
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { host } from './tell.mjs';

/** Jobs added a second, evenly; 0: as fast as it goes. */
const RATE = Number(process.env.BENCH_RATE);
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
const data = (left) => ({ to: 'someone', template: 'welcome', attempt: left });
const opts = { removeOnComplete: true };

async function addEvenly(jobs) {
  const started = performance.now();
  for (let added = 0; added < jobs; added++) {
    const early = started + (added * 1000) / RATE - performance.now();
    if (early >= 1) await sleep(early);
    queue.add('send-mail', data(jobs - added), opts);
  }
}

async function addAll(jobs) {
  for (let left = jobs; left > 0; left -= 500) {
    await queue.addBulk(
      Array.from({ length: Math.min(500, left) }, () => ({ name: 'send-mail', data: data(left), opts })),
    );
  }
}

await host(async (jobs) => {
  target = finished + jobs;
  const done = new Promise((resolve) => {
    reached = resolve;
  });
  await (RATE > 0 ? addEvenly(jobs) : addAll(jobs));
  await done;
});
await worker.close(true);
await queue.obliterate({ force: true });
await queue.close();
process.exit(0);
