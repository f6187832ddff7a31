// Captures events that nobody takes (`fill`), or sends what an earlier process captured (`drain`); a child of ../drain.mjs.
import { Agent, hub } from '../../dist/src/index.js';
import { engine } from './engine.mjs';

const [part, count] = [process.argv[2], Number(process.argv[3])];
const PER_TURN = 500;

const cpu = process.cpuUsage();
const agent = await new Agent().registerEngine(engine).start();

if (part === 'fill') {
  const args = [{ to: 'ada', subject: 'A letter of usual length', lines: [1, 2, 3], priority: 3 }];
  for (let n = 0; n < count; n++) {
    const data = { task_name: 'send', queue: 'mail', priority: 'normal', args, kwargs: {} };
    hub.record({ kind: 'task.received', engine: 'bullmq', taskId: `mail:${n}`, occurredAt: Date.now(), data });
    if (n % PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  console.log(JSON.stringify({ kept: agent.status().journal.records }));
} else {
  const until = async (condition) => {
    while (!condition(agent.status())) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  await until(({ link }) => link?.state === 'connected');
  const began = performance.now();
  await until(({ journal }) => journal.records === 0);
  const { user, system } = process.cpuUsage(cpu);
  console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000, cpuSeconds: (user + system) / 1e6 }));
}
await agent.stop();
