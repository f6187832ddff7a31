/**
 * How fast a backlog goes to a brain: `node bench/drain.mjs [events] [rounds]` after `npm run build`. One process
 * captures the events while there is no brain, the next one of the same home sends them to the stub, which checks
 * every signature in this process. Timed from the connection to the last acknowledgement.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stubBrain } from '../dist/src/testing/index.js';

const [events = 100_000, rounds = 5] = process.argv.slice(2).map(Number);
const program = fileURLToPath(new URL('./host/drain.mjs', import.meta.url));

async function host(part, home, env) {
  const child = spawn(process.execPath, [program, part, events], {
    env: { ...process.env, ...env, Z4J_HOME: home, Z4J_SERVICE_NAME: 'drain', Z4J_DELIVERY: 'complete' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [[line]] = await Promise.all([once(createInterface({ input: child.stdout }), 'line'), once(child, 'exit')]);
  return JSON.parse(line);
}

const rates = [];
const cpus = [];
for (let round = 0; round < rounds; round++) {
  const home = mkdtempSync(join(tmpdir(), 'z4j-drain-'));
  const absent = await stubBrain();
  const { env } = absent;
  await absent.close();
  const known = { token: env.Z4J_TOKEN, secret: Buffer.from(env.Z4J_HMAC_SECRET, 'base64url') };
  let brain;
  try {
    await host('fill', home, { ...env, Z4J_LOG_LEVEL: 'silent' });
    brain = await stubBrain({ record: false, port: Number(new URL(env.Z4J_BRAIN_URL).port), ...known });
    const { seconds, cpuSeconds } = await host('drain', home, env);
    if (brain.counts.events < events) throw new Error(`${brain.counts.events} of ${events} events arrived`);
    rates.push(events / seconds);
    cpus.push((cpuSeconds * 1e6) / events);
  } finally {
    await brain?.close();
    rmSync(home, { recursive: true, force: true });
  }
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
console.log(`node ${process.version}, ${rounds} rounds of ${events} events\n`);
console.log(`| events/s: median (each) | ${Math.round(median(rates))} (${rates.map(Math.round).join(', ')}) |`);
console.log(`| CPU of the sender, µs an event: median | ${median(cpus).toFixed(1)} |`);
