// What a measured host and the benchmark say to each other: lines of JSON out, lines in.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const RUNS = Number(process.env.BENCH_RUNS);
const WARM = Number(process.env.BENCH_WARM);

/** CPU of the main thread alone, in milliseconds; undefined where the system does not tell. */
function mainThread() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
  } catch {
    return undefined;
  }
}

/** Measures `run(count)` from the first run until the benchmark says that everything has arrived. */
export async function host(run) {
  const said = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
  await run(WARM);
  say({ warm: WARM });
  await said.next();
  const cpu = process.cpuUsage();
  const main = mainThread();
  const started = performance.now();
  await run(RUNS);
  say({ wallMs: performance.now() - started });
  await said.next();
  const { user, system } = process.cpuUsage(cpu);
  const mainMs = main === undefined ? undefined : mainThread() - main;
  say({ cpuMs: (user + system) / 1000, mainMs, rss: process.memoryUsage().rss });
}
