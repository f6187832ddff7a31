// An ordinary BullMQ producer: nothing in here knows of z4j.
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from 'bullmq';

const options = { connection: { url: process.env.REDIS_URL }, prefix: process.env.DEMO_PREFIX };
const mail = new Queue('mail', options);
const video = new Queue('video', options);
const retry = { attempts: 3, backoff: { type: 'fixed', delay: 1500 } };

await mail.add('reminder', { to: 'Ada', password: 'this never leaves the process' }, { delay: 4000 });
const withdrawn = await mail.add('invoice', { to: 'Bob' }, { delay: 60_000 });
await video.add('transcode', { file: 'holiday.mov', seconds: 3 });
await sleep(600);
await mail.addBulk(['Cy', 'Dee', 'Eve'].map((to) => ({ name: 'welcome', data: { to } })));
await sleep(900);
await mail.add('newsletter', { to: 'Fay' }, retry);
await video.add('transcode', { file: 'concert.mov', seconds: 2 });
await sleep(900);
await withdrawn.remove();
await video.add('subtitle', { file: 'silent.mov', seconds: 0.6 }, { attempts: 2 });
for (const to of ['Gus', 'Hal', 'Ida', 'Joy']) {
  await mail.add('welcome', { to });
  await sleep(700);
}
await video.add('transcode', { file: 'trailer.mov', seconds: 1.2 });
await sleep(600);
await mail.add('welcome', { to: 'Kim' });
await Promise.all([mail.close(), video.close()]);
