/**
 * How soon a brain knows, on an idle link and while events trickle in: `node bench/latency.mjs [times]` after
 * `npm run build`. The host is a process of its own with an engine that does nothing; both read the clock of this
 * machine.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stubBrain } from '../dist/src/testing/index.js';
import { makeHome } from './servers.mjs';

const [times = 300] = process.argv.slice(2).map(Number);
const IDLE_MS = 40;
const STEADY_MS = 5;

const brain = await stubBrain();
const host = spawn(process.execPath, [fileURLToPath(new URL('./host/latency.mjs', import.meta.url))], {
  env: { ...process.env, ...brain.env, Z4J_HOME: makeHome() },
  stdio: ['pipe', 'pipe', 'inherit'],
});
await once(createInterface({ input: host.stdout }), 'line');
await sleep(3000);

/** Milliseconds from the capture of an event until the brain has it. */
async function captured(name) {
  host.stdin.write(`${name}\n`);
  const { data } = await brain.waitFor({ taskId: `mail:${name}` });
  return performance.timeOrigin + performance.now() - data.args[0].at;
}

const events = [];
const commands = [];
for (let n = 0; n < times; n++) {
  await sleep(IDLE_MS);
  events.push(await captured(n));
  await sleep(IDLE_MS);
  const began = performance.now();
  const { status } = await brain.command({
    action: 'cancel_task',
    parameters: { engine: 'bullmq', task_id: 'mail:1' },
  });
  if (status !== 'success') throw new Error(`the command ended as ${status}`);
  commands.push(performance.now() - began);
}
const steady = [];
for (let n = 0; n < times; n++) {
  await sleep(STEADY_MS);
  steady.push(captured(`steady-${n}`));
}
const trickle = await Promise.all(steady);
host.stdin.end();
await once(host, 'exit');
await brain.close();

const row = (what, list) => {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.floor((sorted.length - 1) * share)].toFixed(2);
  console.log(`| ${what}, ms: p50, p90, p99 | ${at(0.5)}, ${at(0.9)}, ${at(0.99)} |`);
};
console.log(`node ${process.version}, ${times} times each, ${IDLE_MS} ms apart\n`);
row('event captured → at the brain', events);
row(`event captured → at the brain, one every ${STEADY_MS} ms`, trickle);
row('command sent → result at the brain', commands);
