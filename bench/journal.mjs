/**
 * Figures of the journal alone: `node bench/journal.mjs [folder]` after `npm run build`. The folder is used for scratch
 * files; default the system's temporary folder.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { memoryJournal, openJournal } from '../dist/src/autostart.js';

const dir = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'z4j-bench-'));
const turn = () => new Promise((resolve) => setImmediate(resolve));
const META = { kind: 3, task: 0x1234 };
const MIB = 1 << 20;
const rows = [];
const row = (what, value, target = '') => rows.push({ what, value, target });

/** A typical `task.started`: about 450 bytes, a new string every time as the printer makes it. */
let serial = 0;
const event = () =>
  `{"data":{"args":[{"to":"someone@example.com","template":"welcome","n":${serial++}}],"queue":"mail","task_name":"send-mail",` +
  `"worker":"host-1-0:mail","priority":"normal","retry_count":0,"trace_id":"0af7651916cd43dd8448eb211c80319c"},"engine":"bullmq",` +
  `"id":"5d0a6f0e-66d1-5c53-9c3a-2f1f7d6d9e7a","kind":"task.started","occurred_at":"2025-01-01T00:00:00.000000Z","task_id":"mail:${serial}",` +
  '"padding":"some more text as it is found in the arguments of jobs"}';

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
const us = (ms) => `${(ms * 1000).toFixed(2)} µs`;

/** Appends `perTurn` events a turn; quantiles over turns of the time per event, the write at the end of it included. */
async function appendCost(journal, perTurn, turns, label, target) {
  const texts = Array.from({ length: perTurn }, () => Buffer.from(event()).toString());
  const costs = [];
  for (let n = -turns / 10; n < turns; n++) {
    const before = performance.now();
    for (const text of texts) journal.append(text, META);
    journal.flush();
    if (n >= 0) costs.push((performance.now() - before) / perTurn);
    if (n % 50 === 0) await turn();
  }
  costs.sort((a, b) => a - b);
  row(`append, ${label}`, `p50 ${us(quantile(costs, 0.5))}, p99 ${us(quantile(costs, 0.99))} an event`, target);
}

try {
  for (const perTurn of [1, 4, 20, 100]) {
    const journal = openJournal({ dir: join(dir, `append-${perTurn}`), maxBytes: 64 * MIB });
    const label = `${perTurn} a turn, write included`;
    await appendCost(journal, perTurn, Math.ceil(60_000 / perTurn), label, perTurn === 1 ? '' : '≤ 1 µs (3 µs all in)');
    journal.close();
  }
  await appendCost(memoryJournal({ maxBytes: 16 * MIB }), 20, 3000, '20 a turn, in memory only', '');

  for (const loaded of [false, true, true, false]) {
    const journal = openJournal({ dir: join(dir, `delay-${loaded}`), maxBytes: 256 * MIB });
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    let due = performance.now();
    for (let appended = 0; appended < 30_000; ) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const now = performance.now();
      for (; due < now; due += 0.1, appended++) if (loaded) journal.append(event(), META);
    }
    delay.disable();
    const label = loaded ? '10 000 events/s' : 'nothing appended';
    row(
      `event loop delay, ${label}`,
      `p50 ${(delay.percentile(50) / 1e6).toFixed(2)} ms, p99 ${(delay.percentile(99) / 1e6).toFixed(2)} ms`,
      loaded ? '+≤ 1 ms p99' : '',
    );
    journal.close();
  }

  const cold = join(dir, 'cold');
  const full = openJournal({ dir: cold, maxBytes: 256 * MIB });
  while (full.losses.records === 0) {
    for (let n = 0; n < 500; n++) full.append(event(), META);
    full.flush();
  }
  full.close();
  globalThis.gc?.();
  const rssBefore = process.memoryUsage().rss;
  const opened = performance.now();
  const journal = openJournal({ dir: cold, maxBytes: 256 * MIB });
  const first = journal.read(0, { records: 250, bytes: 512 << 10 });
  const { size } = journal;
  row(
    `recovery of ${(size.bytes / MIB).toFixed(0)} MiB, ${size.records} events, first batch read`,
    `${(performance.now() - opened).toFixed(1)} ms, RSS +${((process.memoryUsage().rss - rssBefore) / MIB).toFixed(1)} MiB`,
    '≤ 2 s',
  );
  const began = performance.now();
  let drained = 0;
  let peak = 0;
  for (let batch = first; batch !== undefined; batch = journal.read(batch.end, { records: 250, bytes: 512 << 10 })) {
    drained += batch.records.length;
    journal.confirm(batch.end);
    if (drained % 50_000 === 0) peak = Math.max(peak, process.memoryUsage().rss);
  }
  const seconds = (performance.now() - began) / 1000;
  row(
    'drain of it, 250 a batch, each confirmed',
    `${Math.round(drained / seconds)} events/s, RSS +${((peak - rssBefore) / MIB).toFixed(1)} MiB`,
    '≥ 50 000 events/s',
  );
  journal.close();
} finally {
  rmSync(dir, { recursive: true, force: true });
}

console.log(`Node ${process.version}, ${process.platform} ${process.arch}\n`);
console.log('| what | measured | target |\n|---|---|---|');
for (const { what, value, target } of rows) console.log(`| ${what} | ${value} | ${target} |`);
