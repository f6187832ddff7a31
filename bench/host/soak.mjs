// A host that makes events at a steady rate until its standard input ends, and says every second how it is.
import { readdirSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Agent, hub } from '../../dist/src/index.js';
import { engine } from './engine.mjs';

const [rate] = process.argv.slice(2).map(Number);
const STEP_MS = 20;
/** sent, received, started, succeeded */
const PER_TASK = 4;

const agent = await new Agent().registerEngine(engine).start();

let tasks = 0;
const task = () => {
  const occurredAt = Date.now();
  const event = { engine: 'bullmq', taskId: `mail:${++tasks}`, occurredAt };
  const data = { task_name: 'send', queue: 'mail' };
  const args = [{ to: 'ada', subject: 'A letter of usual length', lines: [1, 2, 3], priority: 3 }];
  hub.record({ ...event, kind: 'task.sent', data });
  hub.record({ ...event, kind: 'task.received', data: { ...data, args } });
  hub.record({ ...event, kind: 'task.started', data, workerOf: 'mail' });
  hub.record({
    ...event,
    kind: 'task.succeeded',
    data: { ...data, result: { ok: true }, runtime_ms: 3 },
    workerOf: 'mail',
  });
};

const began = performance.now();
const work = setInterval(() => {
  const due = ((performance.now() - began) / 1000) * (rate / PER_TASK);
  while (tasks < due) task();
}, STEP_MS);

const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
const openFiles = () => {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return Number.NaN;
  }
};
const peakRss = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
const say = setInterval(() => {
  const { journal, link } = agent.status();
  const [p50, p99] = [50, 99].map((share) => delay.percentile(share) / 1e6);
  delay.reset();
  const rss = process.memoryUsage().rss / 2 ** 20;
  console.log(
    JSON.stringify({
      rss,
      files: openFiles(),
      p50,
      p99,
      kept: journal.records,
      lost: journal.lost,
      state: link?.state,
      events: tasks * PER_TASK,
    }),
  );
}, 1000);

process.stdin.resume();
process.stdin.once('end', async () => {
  clearInterval(work);
  const settled = await agent.flush(60_000);
  clearInterval(say);
  await agent.stop();
  console.log(JSON.stringify({ done: true, settled, events: tasks * PER_TASK, peak: peakRss() }));
});
