// An ordinary BullMQ producer: nothing in here knows of z4j.
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from 'bullmq';

const options = { connection: { url: process.env.REDIS_URL }, prefix: process.env.DEMO_PREFIX };
const mail = new Queue('mail', options);
const video = new Queue('video', options);
const retry = { attempts: 3, backoff: { type: 'fixed', delay: 1500 } };

await mail.add('reminder', { to: 'ada@example.com', password: 'this never leaves the process' }, { delay: 4000 });
const withdrawn = await mail.add('invoice', { to: 'bob@example.com' }, { delay: 60_000 });
await video.add('transcode', { file: 'holiday.mov', seconds: 3 });
await sleep(600);
await mail.addBulk(['cy', 'dee', 'eve'].map((name) => ({ name: 'welcome', data: { to: `${name}@example.com` } })));
await sleep(900);
await mail.add('newsletter', { to: 'fay@example.com' }, retry);
await video.add('transcode', { file: 'concert.mov', seconds: 2 });
await sleep(900);
await withdrawn.remove();
await video.add('subtitle', { file: 'silent.mov', seconds: 0.6 }, { attempts: 2 });
for (const name of ['gus', 'hal', 'ida', 'joy']) {
  await mail.add('welcome', { to: `${name}@example.com` });
  await sleep(700);
}
await video.add('transcode', { file: 'trailer.mov', seconds: 1.2 });
await sleep(600);
await mail.add('welcome', { to: 'kim@example.com' });
await Promise.all([mail.close(), video.close()]);
