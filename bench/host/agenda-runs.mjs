// Runs no-op jobs of Agenda and tells what they cost; a child of ../runs.mjs. Without a port of Redis they are kept in
// memory: then nothing but Agenda itself and the agent is measured.
import { Agenda } from 'agenda';
import { host } from './tell.mjs';

const AT_ONCE = 50;
const prefix = `bench-${process.pid}`;

/** As much of a repository as one-shot jobs need. */
function memory() {
  const jobs = new Map();
  let made = 0;
  const waiting = [];
  const repository = {
    async connect() {},
    async queryJobs() {
      return { jobs: [...jobs.values()], total: jobs.size };
    },
    getJobById: async (id) => jobs.get(id) ?? null,
    getQueueSize: async () => waiting.length,
    async removeJobs({ id }) {
      return jobs.delete(id) ? 1 : 0;
    },
    async saveJob(attrs) {
      const job = { ...attrs, _id: String(++made) };
      jobs.set(job._id, job);
      waiting.push(job);
      return job;
    },
    async saveJobState(attrs) {
      if (!jobs.has(attrs._id)) throw new Error(`job ${attrs._id} does not exist`);
      jobs.set(attrs._id, { ...attrs });
    },
    async unlockJob() {},
    async unlockJobs() {},
    async getNextJobToRun() {
      const job = waiting.shift();
      return job && { ...job, lockedAt: new Date() };
    },
  };
  // The library repeats what is new to whoever listens, as the channels of the real backends do.
  let listener;
  const notificationChannel = {
    state: 'connected',
    async connect() {},
    async disconnect() {},
    subscribe(handler) {
      listener = handler;
      return () => {};
    },
    async publish(notification) {
      listener?.(notification);
    },
  };
  return { name: 'memory', repository, notificationChannel, async connect() {}, async disconnect() {} };
}

async function redis() {
  const { RedisBackend } = await import('@agendajs/redis-backend');
  const connectionString = `redis://127.0.0.1:${process.env.BENCH_REDIS}`;
  return new RedisBackend({ connectionString, keyPrefix: `${prefix}:`, channelName: prefix });
}

const backend = process.env.BENCH_REDIS ? await redis() : memory();
const agenda = new Agenda({ backend, processEvery: 100, maxConcurrency: AT_ONCE });
let finished = 0;
let target = 0;
let reached = () => {};
agenda.define(
  'send-mail',
  async () => {
    finished += 1;
    if (finished === target) reached();
  },
  { concurrency: AT_ONCE, removeOnComplete: true },
);
await agenda.start();

await host(async (jobs) => {
  for (let left = jobs; left > 0; left -= AT_ONCE) {
    const some = Math.min(AT_ONCE, left);
    target = finished + some;
    const done = new Promise((resolve) => {
      reached = resolve;
    });
    for (let i = 0; i < some; i++) await agenda.now('send-mail', { to: 'someone', template: 'welcome', attempt: i });
    await done;
    // As any database would: what a turn of the event loop holds is let go.
    await new Promise(setImmediate);
  }
});
await agenda.stop();
process.exit(0);
