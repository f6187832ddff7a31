// Runs no-op functions of node-cron and tells what they cost; a child of ../runs.mjs.
// Not by the clock: a plan in seconds gives one run a second, and its timer costs more than the run.
import cron from 'node-cron';
import { host } from './tell.mjs';

const TASKS = 20;
const tasks = Array.from({ length: TASKS }, (_, i) =>
  cron.schedule(`${i} 3 1 1 *`, async () => ({ sent: i }), { name: `reports:tenant-${i}` }),
);

await host(async (runs) => {
  for (let left = runs; left > 0; left -= TASKS) await Promise.all(tasks.map((task) => task.execute()));
});
for (const task of tasks) await task.destroy();
process.exit(0);
