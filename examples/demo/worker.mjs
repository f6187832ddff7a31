// An ordinary BullMQ worker: nothing in here knows of z4j.
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'bullmq';

const options = { connection: { url: process.env.REDIS_URL }, prefix: process.env.DEMO_PREFIX };

const mail = new Worker(
  'mail',
  async (job) => {
    await sleep(80 + 220 * Math.random());
    if (job.name === 'newsletter' && job.attemptsMade === 0) throw new Error('SMTP 421: try again later');
    return { delivered: job.data.to };
  },
  { ...options, concurrency: 3 },
);

const video = new Worker(
  'video',
  async (job) => {
    for (let percent = 25; percent <= 100; percent += 25) {
      await sleep(job.data.seconds * 250);
      await job.updateProgress(percent);
    }
    if (job.name === 'subtitle') throw new TypeError(`No speech found in ${job.data.file}`);
    return { file: job.data.file.replace('.mov', '.mp4') };
  },
  { ...options, concurrency: 2 },
);

process.once('SIGTERM', async () => {
  await Promise.all([mail.close(), video.close()]);
  process.exit();
});

await Promise.all([mail.waitUntilReady(), video.waitUntilReady()]);
console.log('ready');
