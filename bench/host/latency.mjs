// Captures an event for every line it reads and answers commands with nothing; a child of ../latency.mjs.
import { createInterface } from 'node:readline';
import { Agent, hub } from '../../dist/src/index.js';
import { engine } from './engine.mjs';

const agent = await new Agent().registerEngine(engine).start();
while (agent.status().link?.state !== 'connected') await new Promise((resolve) => setTimeout(resolve, 10));
console.log('connected');
for await (const line of createInterface({ input: process.stdin })) {
  const data = {
    task_name: 'send',
    queue: 'mail',
    args: [{ at: performance.timeOrigin + performance.now() }],
    kwargs: {},
  };
  hub.record({ kind: 'task.received', engine: 'bullmq', taskId: `mail:${line}`, occurredAt: Date.now(), data });
}
await agent.stop();
