import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import { buildSync } from 'esbuild';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { openJournal, openJournalWriter } from '../../src/journal/durable.js';
import { listSlots } from '../../src/journal/slots.js';

interface Said {
  readonly name: string;
  readonly slot?: number;
  readonly written?: number;
  readonly records?: string[];
  readonly drained?: boolean;
}

interface Child {
  readonly process: ChildProcess;
  readonly said: Said[];
  kill(): Promise<void>;
}

const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'z4j-faults-'));
const script = join(root, 'child.mjs');
buildSync({
  entryPoints: [join(import.meta.dirname, 'journal-child.ts')],
  outfile: script,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
});
const children: Child[] = [];
const folder = (): string => mkdtempSync(join(root, 'home-'));

afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const start = (...parameters: string[]): Child => startWith([], parameters);

/** `wrapper`: a command that becomes the process, in a namespace of its own. */
function startWith(wrapper: readonly string[], parameters: readonly string[]): Child {
  const [command = '', ...rest] = [...wrapper, process.execPath, script, ...parameters];
  const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  const said: Said[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => said.push(JSON.parse(line) as Said));
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const started: Child = {
    process: child,
    said,
    kill: () => {
      child.kill('SIGKILL');
      return ended;
    },
  };
  children.push(started);
  return started;
}

const slotsOf = (all: readonly Child[]): number[] => all.flatMap(({ said }) => said.flatMap(({ slot }) => slot ?? []));

describe('one home', () => {
  it('is shared by 8 processes and 4 threads: no slot twice, no folder lost, no record read twice', {
    timeout: 60_000,
  }, async () => {
    const home = folder();
    const holders = Array.from({ length: 8 }, (_, index) => start('hold', home, `p${index}`, index === 0 ? '4' : '0'));
    await expect.poll(() => slotsOf(holders).length, { timeout: 30_000 }).toBe(12);
    const names = holders.flatMap(({ said }) => said.map(({ name }) => name));
    expect(slotsOf(holders).sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, index) => index));

    await Promise.all(holders.map((holder) => holder.kill()));
    const drainers = ['d0', 'd1', 'd2'].map((name) => start('drain', home, name));
    await expect.poll(() => slotsOf(drainers).length, { timeout: 30_000 }).toBe(3);
    expect(slotsOf(drainers).sort()).toEqual([0, 1, 2]);
    for (const { process: child } of drainers) child.stdin?.write('go\n');
    await expect
      .poll(() => drainers.every(({ said }) => said.some(({ drained }) => drained)), { timeout: 30_000 })
      .toBe(true);
    // The slots that the drainers took themselves hold what was left there: it is theirs to go on with.
    const own = [0, 1, 2].flatMap((number) => {
      const journal = openJournal({ dir: join(home, 'agent', `slot-${number}`), maxBytes: 1 << 20 });
      const records = journal.read(0, { records: 1e6, bytes: 1e6 })?.records.map(String) ?? [];
      journal.close();
      return records;
    });
    const read = [...own, ...drainers.flatMap(({ said }) => said.flatMap(({ records }) => records ?? []))];
    const appended = names.flatMap((name) => Array.from({ length: 10 }, (_, n) => `${name}:${n}`));
    expect(read.sort()).toEqual(appended.sort());
    expect(listSlots(home, 'agent')).toEqual([0, 1, 2]);
  });
});

const isolated = ['unshare', '--net', '--uts'];
const canIsolate = process.platform === 'linux' && spawnSync('unshare', ['--net', '--uts', 'true']).status === 0;
if (!canIsolate) console.warn('SKIPPED: containers that share a home need the right to make namespaces');

describe.runIf(canIsolate)('containers of one machine that share a home', () => {
  it('see each other, and whose owner died', { timeout: 60_000 }, async () => {
    const home = folder();
    const claimed = async (child: Child): Promise<number | undefined> => {
      await expect.poll(() => slotsOf([child]).length, { timeout: 20_000 }).toBe(1);
      return slotsOf([child])[0];
    };
    const first = startWith(isolated, ['hold', home, 'first']);
    expect(await claimed(first)).toBe(0);
    expect(await claimed(startWith(isolated, ['hold', home, 'second']))).toBe(1);
    expect(await claimed(start('hold', home, 'third'))).toBe(2);
    await first.kill();
    expect(await claimed(startWith(isolated, ['hold', home, 'fourth']))).toBe(0);
  });
});

describe('kill -9', () => {
  it('loses nothing that was appended in a finished turn', { timeout: 60_000 }, async () => {
    const dir = folder();
    let written = 0;
    for (let round = 0; round < 15; round++) {
      const child = start('append', dir);
      const enough = 1 + Math.floor(Math.random() * 150);
      await expect.poll(() => child.said.length, { timeout: 20_000, interval: 1 }).toBeGreaterThan(enough);
      await child.kill();
      written = Math.max(written, ...child.said.map((said) => said.written ?? 0));
      const journal = openJournal({ dir, maxBytes: 64 << 20 });
      let expected = 0;
      for (let batch = journal.read(0, { records: 1e6, bytes: 1e6 }); batch !== undefined; ) {
        for (const record of batch.records) {
          if (record.toString() !== `${expected}:${'x'.repeat(expected % 700)}`)
            expect(record.toString()).toBe(`${expected}:`);
          expected++;
        }
        batch = journal.read(batch.end, { records: 1e6, bytes: 1e6 });
      }
      expect(expected).toBe(journal.end);
      expect(journal.end).toBeGreaterThanOrEqual(written);
      journal.close();
    }
  });
});

describe('a process that has a slot and a journal', () => {
  it('ends by itself, its last records written', { timeout: 30_000 }, async () => {
    const home = folder();
    const child = start('leave', home, 'once');
    const code = await new Promise((resolve) => child.process.once('exit', resolve));
    expect([code, child.said]).toEqual([0, [{ name: 'once', ends: 1 }]]);
    const journal = openJournal({ dir: join(home, 'agent', 'slot-0'), maxBytes: 1 << 20 });
    expect(journal.read(0, { records: 9, bytes: 999 })?.records.map(String)).toEqual(['once']);
    journal.close();
  });
});

describe('a reader in another thread', () => {
  it('reads while the thread that appends is blocked', { timeout: 30_000 }, async () => {
    const writer = openJournalWriter({ dir: folder(), maxBytes: 8 << 20, eagerWrites: 1000 });
    const seen = new SharedArrayBuffer(4);
    const handle = writer.connect();
    const worker = new Worker(script, { workerData: { seen, handle }, transferList: [handle.port] });
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    await new Promise((resolve) => worker.once('message', resolve));
    const view = new Int32Array(seen);
    for (let n = 0; n < 5; n++) writer.append(`before ${n}`, { kind: 1, task: 0 });
    // No turn of the event loop ends from here on.
    const until = Date.now() + 10_000;
    while (Atomics.load(view, 0) < 5 && Date.now() < until) {
      /* blocked */
    }
    expect(Atomics.load(view, 0)).toBe(5);
    for (let n = 0; n < 20_000; n++) writer.append(`${n}:${'x'.repeat(300)}`, { kind: 1, task: 0 });
    writer.flush();
    await expect.poll(() => Atomics.load(view, 0), { timeout: 10_000 }).toBe(20_005);
    writer.sweep();
    // Of 6.6 MB the segment being written is left: what was appended between two writes, at most 1 MiB.
    expect(writer.bytes).toBeLessThan((1 << 20) + 4096);
    expect(writer.shared.losses.records).toBe(0);
    worker.postMessage('end');
    await ended;
    writer.close();
  });

  it('gets what it reads through its port where there is no disk', { timeout: 30_000 }, async () => {
    const writer = openJournalWriter({ dir: null, maxBytes: 1 << 20 });
    for (let n = 0; n < 100; n++) writer.append(`early ${n}`, { kind: 1, task: 0 });
    writer.flush();
    const seen = new SharedArrayBuffer(4);
    const handle = writer.connect();
    const worker = new Worker(script, { workerData: { seen, handle }, transferList: [handle.port] });
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    const view = new Int32Array(seen);
    await expect.poll(() => Atomics.load(view, 0), { timeout: 10_000 }).toBe(100);
    for (let n = 0; n < 100; n++) writer.append(`late ${n}`, { kind: 1, task: 0 });
    await expect.poll(() => Atomics.load(view, 0), { timeout: 10_000 }).toBe(200);
    await expect.poll(() => writer.shared.confirmed, { timeout: 10_000 }).toBe(200);
    writer.sweep();
    expect(writer.bytes).toBe(0);
    expect(writer.shared.losses.records).toBe(0);
    worker.postMessage('end');
    await ended;
    writer.close();
  });
});
