// A host that operators act on; a child of ../commands.mjs, which says what is to happen. Answers with a line of JSON.
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { Queue, Worker } from 'bullmq';

const built = (path) => import(new URL(path, process.env.BENCH_DIST).href);
const { CommandRouter, Heartbeat } = await built('agent-link.js');
const { hub } = await built('index.js');
const connection = { host: '127.0.0.1', port: Number(process.env.BENCH_REDIS), maxRetriesPerRequest: null };
const STEP_MS = 20;
const ms = (nanoseconds) => nanoseconds / 1e6;
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const figures = (histogram) => ({ p50: ms(histogram.percentile(50)), p99: ms(histogram.percentile(99)) });
const cpu = (since) => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
};

/** Between a command's arrival and its answer. */
let taken = createHistogram();
const { handle } = CommandRouter.prototype;
CommandRouter.prototype.handle = async function (command) {
  const began = process.hrtime.bigint();
  const result = await handle.call(this, command);
  taken.record(Number(process.hrtime.bigint() - began) || 1);
  return result;
};

const load = new Queue('load', { connection });
// Of its own: one Redis serves all rounds.
const letters = `dead-${process.pid}`;
const dead = new Queue(letters, { connection });
new Worker('load', async () => 1, { connection, concurrency: 50 });
let failing = true;
const worker = new Worker(
  letters,
  async () => {
    if (failing) throw new Error('no');
  },
  { connection, concurrency: 100 },
);

let wanted = 0;
let due = 0;
let before = performance.now();
setInterval(() => {
  const now = performance.now();
  due += ((now - before) / 1000) * wanted;
  before = now;
  const jobs = Array.from({ length: Math.floor(due) }, () => ({
    name: 'send',
    data: { to: 'someone', template: 'welcome' },
    opts: { removeOnComplete: true },
  }));
  due -= jobs.length;
  if (jobs.length > 0) load.addBulk(jobs);
}, STEP_MS);

const steps = {
  /** So many jobs a second from now on. */
  async load({ rate }) {
    wanted = rate;
    const before = process.cpuUsage();
    const began = performance.now();
    await pause(2000);
    steps.rate = cpu(before) / (performance.now() - began);
    taken = createHistogram();
    steps.began = performance.now();
    steps.cpu = process.cpuUsage();
    return {};
  },
  /** What the commands since `load` took, and one question to the broker under the same load. */
  async taken({ questions }) {
    const spent = (cpu(steps.cpu) - steps.rate * (performance.now() - steps.began)) / taken.count;
    const broker = createHistogram();
    for (let n = 0; n < questions; n++) {
      const began = process.hrtime.bigint();
      await load.getJobState('nobody');
      broker.record(Number(process.hrtime.bigint() - began));
      await pause(5);
    }
    return { command: figures(taken), cpu: spent, broker: figures(broker) };
  },
  /** Dead letters nobody works on. */
  async die({ count }) {
    const ids = [];
    for (let left = count; left > 0; left -= 1000) {
      const jobs = await dead.addBulk(
        Array.from({ length: Math.min(1000, left) }, (_, n) => ({ name: 'n', data: { n } })),
      );
      ids.push(...jobs.map(({ id }) => `${letters}:${id}`));
    }
    while ((await dead.getJobCounts('failed')).failed < count) await pause(50);
    await worker.pause();
    failing = false;
    return { ids };
  },
  /** How late the event loop is, and the CPU, until it is asked for. */
  async watch() {
    steps.delay = monitorEventLoopDelay({ resolution: 1 });
    steps.delay.enable();
    steps.cpu = process.cpuUsage();
    return {};
  },
  async seen() {
    steps.delay.disable();
    return { cpu: cpu(steps.cpu), p99: ms(steps.delay.percentile(99)), max: ms(steps.delay.max) };
  },
  async heartbeats({ queues, count }) {
    const opened = Array.from({ length: queues - 2 }, (_, n) => new Queue(`queue-${n}`, { connection }));
    await Promise.all(opened.map((queue) => queue.waitUntilReady()));
    const journal = { size: { records: 0, bytes: 0 }, losses: { records: 0 } };
    const heartbeat = new Heartbeat({
      engines: () => [...hub.engines.values()],
      journal: () => journal,
      lastFlushAt: () => null,
      loss: () => null,
    });
    const costs = [];
    let bytes = 0;
    for (let n = 0; n < count; n++) {
      const idle = process.cpuUsage();
      const began = performance.now();
      await pause(50);
      const rate = cpu(idle) / (performance.now() - began);
      const since = process.cpuUsage();
      const start = performance.now();
      const payload = await heartbeat.payload(AbortSignal.timeout(5000));
      // What the host does anyway does not count.
      costs.push(Math.max(cpu(since) - rate * (performance.now() - start), 0));
      bytes = JSON.stringify(payload).length;
    }
    heartbeat.stop();
    return { costs, bytes };
  },
};

await Promise.all([load, dead, worker].map((each) => each.waitUntilReady()));
process.stdout.write('{}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...options } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await steps[step](options))}\n`);
}
process.exit(0);
