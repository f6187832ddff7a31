/**
 * What the events of one run of node-cron cost by stages, without a host and without a socket: recorded (redacted,
 * printed), written to a journal on disk as well, read back and made signed frames as well. `node bench/stages.mjs
 * [windows] [package]` after `npm run build`; another build of this package is measured by its folder. The least of many
 * windows: nothing here waits for anybody.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [windows = 150, folder = fileURLToPath(new URL('..', import.meta.url))] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(join(resolve(folder), 'dist/src', file)).href);
const { Dispatcher, Redactor, openJournal } = await load('autostart.js');
const { FrameWriter, Signer } = await load('protocol/index.js');

/** Runs side by side, and turns of the event loop in a window. */
const RUNS = 20;
const TURNS = 100;
const FRAME = { records: 250, bytes: 256 * 1024 };
const home = mkdtempSync(join(tmpdir(), 'z4j-stages-'));
const names = Array.from({ length: RUNS }, (_, i) => `reports:tenant-${i}`);
const NO_ARGS = [];
const NO_KWARGS = {};

const event = (kind, taskId, data, workerOf) => ({
  kind,
  engine: 'node-cron',
  taskId,
  occurredAt: Date.now(),
  data,
  workerOf,
});

/** The events of a run, in the three steps between which other runs have theirs. */
const STEPS = [
  (id, name) => [
    event('task.received', id, {
      task_name: name,
      schedule: name,
      args: NO_ARGS,
      kwargs: NO_KWARGS,
      reason: 'invoked',
      scheduled_for: undefined,
    }),
    event(
      'schedule.run_started',
      id,
      { task_name: name, schedule: name, reason: 'invoked', scheduled_for: undefined },
      '',
    ),
  ],
  (id, name) => [event('task.started', id, { task_name: name, schedule: name, overlaps: undefined }, '')],
  (id, name) => [
    event('task.succeeded', id, { task_name: name, schedule: name, result: { sent: 3 }, runtime_ms: 1 }, ''),
    event(
      'schedule.run_completed',
      id,
      {
        task_name: name,
        schedule: name,
        outcome: 'success',
        runtime_ms: 1,
        total_runs: 77,
        reason: undefined,
        exception: undefined,
      },
      '',
    ),
  ],
];

const onDisk = (name) => openJournal({ dir: join(home, name), maxBytes: 1 << 30 });

/** Each stage is a journal for a dispatcher, and what it does at the end of a turn. */
const STAGES = {
  recorded: () => ({ append() {}, turn() {} }),
  'and on disk': () => {
    const journal = onDisk('disk');
    return {
      append: (text, meta) => journal.append(text, meta),
      turn() {
        journal.flush();
        if (journal.end - journal.confirmed > 2000) journal.confirm(journal.end);
      },
    };
  },
  'and in signed frames': () => {
    const journal = onDisk('frames');
    const writer = new FrameWriter(new Signer(randomBytes(32), { agentId: 'a', projectId: 'p', sessionId: 's' }));
    let next = 0;
    return {
      append: (text, meta) => journal.append(text, meta),
      turn() {
        journal.flush();
        while (journal.end - next >= FRAME.records) {
          const { records, end } = journal.read(next, FRAME);
          writer.eventBatch('ev_1', records);
          next = end;
          journal.confirm(end);
        }
      },
    };
  },
};

const identity = { workerName: () => 'host-1' };
const stages = Object.entries(STAGES).map(([name, make]) => {
  const { append, turn } = make();
  const dispatcher = new Dispatcher({ journal: { append, flush() {} }, redactor: new Redactor(), identity });
  return { name, dispatcher, turn, found: [] };
});

for (let window = 0; window < Number(windows); window++) {
  for (const { dispatcher, turn, found } of stages) {
    const ids = Array.from({ length: RUNS }, () => randomUUID());
    const before = process.cpuUsage();
    for (let n = 0; n < TURNS; n++) {
      for (const step of STEPS) {
        for (let i = 0; i < RUNS; i++) for (const one of step(ids[i], names[i])) dispatcher.record(one);
      }
      turn();
    }
    const { user, system } = process.cpuUsage(before);
    found.push((user + system) / (RUNS * TURNS));
  }
}

console.log(`node ${process.version}; µs of CPU for the 5 events of a run: least and quartile of ${windows} windows`);
for (const { name, found } of stages) {
  const sorted = found.sort((a, b) => a - b);
  console.log(`${sorted[0].toFixed(1).padStart(6)} ${sorted[sorted.length >> 2].toFixed(1).padStart(6)}  ${name}`);
}
rmSync(home, { recursive: true, force: true });
process.exit(0);
