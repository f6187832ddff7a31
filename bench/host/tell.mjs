// What a measured host and the benchmark say to each other: lines of JSON. `{"run":<count>}` is answered by
// `{"wallMs"}`, `{"count":true}` by what was used since the run began. The end of the lines is the end of the host.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** CPU of the main thread alone, in milliseconds; undefined where the system does not tell. */
function mainThread() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
  } catch {
    return undefined;
  }
}

/** Milliseconds of CPU that a fixed piece of work takes: other tenants of a processor may halve its speed at any time. */
function speed() {
  const cpu = process.cpuUsage();
  let length = 0;
  for (let i = 0; i < 8000; i++) length += JSON.stringify({ id: i, name: `task-${i}`, pair: [i, length] }).length;
  const { user, system } = process.cpuUsage(cpu);
  return (user + system) / 1000;
}

/** Calls `run(count)` whenever the benchmark says so; resolves when it says no more. */
export async function host(run) {
  const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
  let cpu = process.cpuUsage();
  let main = mainThread();
  let before = 0;
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const { run: count } = JSON.parse(line);
    if (count === undefined) {
      const { user, system } = process.cpuUsage(cpu);
      const mainMs = main === undefined ? undefined : mainThread() - main;
      say({
        cpuMs: (user + system) / 1000,
        mainMs,
        speedMs: Math.max(before, speed()),
        rss: process.memoryUsage().rss,
      });
      continue;
    }
    before = speed();
    cpu = process.cpuUsage();
    main = mainThread();
    const started = performance.now();
    await run(count);
    say({ wallMs: performance.now() - started });
  }
}
