/** Runs in a process or a worker thread of its own; see journal.test.ts. Tells what it did line by line on stdout. */
import { writeSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { adoptSlots } from '../../src/journal/adopt.js';
import { openJournal } from '../../src/journal/durable.js';
import { openJournalReader } from '../../src/journal/reader.js';
import { claimSlot } from '../../src/journal/slots.js';
import type { JournalHandle } from '../../src/journal/writer.js';

const isReader = !isMainThread && !Array.isArray(workerData);
const parameters = isMainThread ? process.argv.slice(2) : isReader ? [] : (workerData as string[]);
const [mode = '', home = '', name = '', more = '0'] = parameters;
const META = { kind: 1, task: 0 };
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function say(what: object): void {
  writeSync(1, `${JSON.stringify(what)}\n`);
}

/** Claims a slot, leaves ten records there, stays. */
async function hold(): Promise<void> {
  for (let n = 0; n < Number(more) && isMainThread; n++) {
    new Worker(new URL(import.meta.url), {
      argv: process.argv.slice(2),
      workerData: ['hold', home, `${name}-thread-${n}`],
    });
  }
  const slot = await claimSlot(home, 'agent');
  const journal = openJournal({ dir: slot.dir, maxBytes: 1 << 20 });
  for (let n = 0; n < 10; n++) journal.append(`${name}:${n}`, META);
  journal.flush();
  say({ name, slot: slot.number });
  setInterval(() => undefined, 1000);
}

/** Appends for ever; says after each turn what was appended before it. */
async function append(): Promise<void> {
  const journal = openJournal({ dir: home, maxBytes: 64 << 20 });
  for (let n = journal.end; ; ) {
    for (const until = n + 1 + Math.floor(Math.random() * 20); n < until; n++)
      journal.append(`${n}:${'x'.repeat(n % 700)}`, META);
    await turn();
    say({ written: n });
  }
}

/** Has everything that could keep a process alive, and ends. */
async function leave(): Promise<void> {
  const slot = await claimSlot(home, 'agent');
  slot.onMessage = () => null;
  const journal = openJournal({ dir: slot.dir, maxBytes: 1 << 20 });
  let ends = 0;
  process.on('beforeExit', () => {
    ends++;
  });
  process.on('exit', () => say({ name, ends }));
  journal.append(name, META);
}

/** Adopts what is left, says what it read, and confirms it. */
async function drain(): Promise<void> {
  const slot = await claimSlot(home, 'agent');
  say({ name, slot: slot.number });
  process.stdin.resume();
  for await (const _ of process.stdin) {
    for (const { journal, finish } of await adoptSlots(home, 'agent', slot, { maxBytes: 1 << 20, graceMs: 0 })) {
      const records: string[] = [];
      for (let batch = journal.read(0, { records: 3, bytes: 100 }); batch !== undefined; ) {
        records.push(...batch.records.map(String));
        journal.confirm(batch.end);
        batch = journal.read(batch.end, { records: 3, bytes: 100 });
      }
      finish();
      say({ name, records });
    }
    say({ name, drained: true });
  }
}

/** Reads what the thread that started it appends, and says so while that one is blocked. */
function read(): void {
  const seen = new Int32Array((workerData as unknown as { seen: SharedArrayBuffer }).seen);
  const journal = openJournalReader((workerData as unknown as { handle: JournalHandle }).handle);
  const all = (): void => {
    for (let batch = journal.read(journal.confirmed, { records: 7, bytes: 1e6 }); batch !== undefined; ) {
      journal.confirm(batch.end);
      Atomics.store(seen, 0, batch.end);
      batch = journal.read(batch.end, { records: 7, bytes: 1e6 });
    }
  };
  journal.onAppend = all;
  all();
  parentPort?.on('message', () => {
    journal.close();
    parentPort?.close();
  });
  parentPort?.postMessage('ready');
}

if (isReader) read();
else if (mode === 'append') await append();
else if (mode === 'drain') await drain();
else if (mode === 'leave') await leave();
else await hold();
