import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openJournal } from '../../../src/journal/durable.js';
import { JournalError } from '../../../src/journal/errors.js';
import type { RecordMeta } from '../../../src/journal/journal.js';
import type { JournalProblem } from '../../../src/journal/options.js';
import { openJournalReader } from '../../../src/journal/reader.js';
import { ALL, META, MIB, open, readAll, scratch, turn } from './support.js';

const segments = (dir: string): string[] => fs.readdirSync(dir).filter((name) => name.endsWith('.seg'));
const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => String(from + index));

describe('openJournal', () => {
  it('hands back what was appended, across restarts, from the confirmed position on', async () => {
    const dir = join(scratch(), 'agent', 'slot-0');
    const first = open(dir);
    for (const text of ['{"a":1}', '{"ü":"€😀"}', '']) first.append(text, META);
    expect(readAll(first)).toEqual(['{"a":1}', '{"ü":"€😀"}', '']);
    expect(first.size.records).toBe(3);
    await turn();
    expect(first.read(1, { records: 1, bytes: 1 })).toMatchObject({ start: 1, end: 2, bytes: 16 });
    first.confirm(1);
    first.close();

    const second = open(dir);
    expect([second.confirmed, second.end]).toEqual([1, 3]);
    second.append('four', META);
    expect(readAll(second)).toEqual(['{"ü":"€😀"}', '', 'four']);
    expect(second.losses.records).toBe(0);
  });

  it('keeps the records of one turn apart, however many, wide and large they are', async () => {
    const dir = scratch();
    const journal = open(dir);
    const texts = Array.from({ length: 500 }, (_, n) =>
      n % 7 === 3 ? `€${n}😀` : n % 50 === 49 ? 'x'.repeat(n * 200) : `${n}`,
    );
    const metas = texts.map((_, n) => ({ kind: n % 14, task: n * 7919 }));
    for (const [n, text] of texts.entries()) journal.append(text, metas[n] as RecordMeta);
    await turn();
    const batch = journal.read(0, ALL);
    expect(batch?.records.map(String)).toEqual(texts);
    expect(batch?.metas).toEqual(metas);
    journal.close();
    expect(readAll(open(dir))).toEqual(texts);
  });

  it('makes folders and files for its user alone', () => {
    const dir = join(scratch(), 'home', 'slot-0');
    const journal = open(dir);
    journal.append('x', META);
    journal.flush();
    journal.confirm(1);
    if (process.platform === 'win32') return;
    expect(fs.statSync(dir).mode & 0o777).toBe(0o700);
    const modes = fs.readdirSync(dir).map((name) => fs.statSync(join(dir, name)).mode & 0o777);
    expect(new Set(modes)).toEqual(new Set([0o600]));
  });

  it('writes once a turn and tells once', async () => {
    const journal = open(scratch());
    let told = 0;
    journal.onAppend = () => told++;
    for (let n = 0; n < 10; n++) journal.append(String(n), META);
    expect(readAll(journal)).toEqual(numbers(0, 10));
    journal.append('x'.repeat(2 * MIB), META);
    journal.append('x'.repeat(2 * MIB), META);
    expect(told).toBe(0);
    await turn();
    expect(told).toBe(1);
  });

  it('tells a reader in another thread of more as soon as it has read all there was', async () => {
    const journal = openJournal({ dir: scratch(), maxBytes: MIB });
    const reader = openJournalReader(journal.lend());
    for (const text of ['one', 'two', 'three']) {
      const told = new Promise<void>((resolve) => {
        reader.onAppend = resolve;
      });
      journal.append(text, META);
      await told;
      // It sees from the end alone that there is no more.
      expect(reader.read(reader.end - 1, ALL)?.records.map(String)).toEqual([text]);
    }
    reader.close();
    journal.close();
  });

  it('deletes segments that were confirmed, and leaves none behind at the end', () => {
    const dir = scratch();
    const journal = open(dir, { maxBytes: MIB });
    const text = 'x'.repeat(1000);
    for (let n = 0; n < 500; n++) {
      journal.append(text, META);
      journal.flush();
    }
    expect(segments(dir).length).toBeGreaterThan(5);
    journal.read(0, ALL);
    journal.confirm(490);
    expect(segments(dir).length).toBeLessThan(3);
    journal.confirm(500);
    expect(journal.size).toEqual({ records: 0, bytes: 0 });
    expect(journal.oldestAt).toBeUndefined();
    journal.close();
    expect(segments(dir)).toEqual([]);
    const again = open(dir);
    expect([again.confirmed, again.end]).toEqual([500, 500]);
    again.append('next', META);
    expect(again.read(0, ALL)).toMatchObject({ start: 500, end: 501 });
  });

  it('evicts the oldest segment over the limit, counts by kind, and keeps the count', () => {
    const dir = scratch();
    const problems: JournalProblem[] = [];
    const journal = open(dir, { maxBytes: MIB, onProblem: (problem) => problems.push(problem) });
    const text = 'x'.repeat(1000);
    const total = 3000;
    for (let n = 0; n < total; n++) {
      journal.append(text, { kind: n % 3, task: 0 });
      journal.flush();
      if (n === 9) journal.confirm(10);
    }
    // Many segments went.
    expect(problems).toEqual([
      { cause: 'full', state: 'noted', path: dir, message: expect.stringMatching(/full: .*Z4J_BUFFER_MAX_BYTES$/) },
    ]);
    const batch = journal.read(0, ALL);
    const lost = journal.losses;
    expect(batch?.start).toBe(lost.records + 10);
    expect(readAll(journal).length + lost.records + 10).toBe(total);
    expect(journal.size.records).toBe(total - lost.records - 10);
    expect(journal.size.bytes).toBeLessThanOrEqual(MIB);
    expect(Math.max(...lost.byKind.values()) - Math.min(...lost.byKind.values())).toBeLessThanOrEqual(1);
    journal.close();
    const again = open(dir, { maxBytes: MIB });
    expect(again.losses).toEqual(lost);
    expect(again.confirmed).toBe(lost.records + 10);
    expect(readAll(again).length).toBe(total - lost.records - 10);
    expect(again.losses).toEqual(lost);
  });

  it('evicts what is too old', () => {
    const dir = scratch();
    const journal = open(dir, { maxBytes: MIB });
    for (let n = 0; n < 200; n++) {
      journal.append('x'.repeat(1000), META);
      journal.flush();
    }
    journal.close();
    const causes: string[] = [];
    const later = open(dir, { maxBytes: MIB, maxAgeMs: -60_000, onProblem: ({ cause }) => causes.push(cause) });
    expect(causes).toEqual(['old']);
    expect(later.losses.records).toBe(200);
    expect(later.read(0, ALL)).toBeUndefined();
  });

  it('counts a record that is too large and goes on', () => {
    const journal = open(scratch());
    journal.append('x'.repeat(5 * MIB), { kind: 7, task: 0 });
    journal.append('y'.repeat(3 * MIB), META);
    journal.append('z', META);
    expect(readAll(journal).map((text) => text.length)).toEqual([3 * MIB, 1]);
    expect([...journal.losses.byKind]).toEqual([[7, 1]]);
  });

  it('cuts a torn tail and counts it', () => {
    const dir = scratch();
    const journal = open(dir);
    journal.append('one', META);
    journal.append('two', { kind: 5, task: 0 });
    journal.close();
    const file = join(dir, segments(dir)[0] as string);
    fs.truncateSync(file, fs.statSync(file).size - 1);
    const again = open(dir);
    again.append('three', META);
    expect(readAll(again)).toEqual(['one', 'three']);
    expect([...again.losses.byKind]).toEqual([[5, 1]]);
    again.close();
    expect(readAll(open(dir))).toEqual(['one', 'three']);
  });

  it('takes the other copy of a torn confirmed position', () => {
    const dir = scratch();
    const journal = open(dir);
    for (const text of numbers(0, 10)) journal.append(text, META);
    journal.flush();
    journal.confirm(3);
    journal.close();
    const again = open(dir);
    again.confirm(6);
    again.close();
    const bytes = fs.readFileSync(join(dir, 'confirmed'));
    for (let copy = 0; copy < 2; copy++) {
      const damaged = Buffer.from(bytes);
      damaged.fill(0x55, copy * 24 + 8, copy * 24 + 16);
      fs.writeFileSync(join(dir, 'confirmed'), damaged);
      const opened = open(dir);
      expect([3, 6]).toContain(opened.confirmed);
      opened.close();
      fs.writeFileSync(join(dir, 'confirmed'), bytes);
    }
    fs.writeFileSync(join(dir, 'confirmed'), 'rubbish');
    expect(readAll(open(dir))).toEqual(numbers(0, 10));
  });

  it('refuses folders that are links and does not follow planted files', () => {
    const root = scratch();
    const victim = join(root, 'victim');
    fs.writeFileSync(victim, 'precious');
    fs.mkdirSync(join(root, 'elsewhere'));
    fs.symlinkSync(join(root, 'elsewhere'), join(root, 'slot-0'));
    expect(() => open(join(root, 'slot-0'))).toThrow(JournalError);
    const dir = join(root, 'slot-1');
    fs.mkdirSync(dir);
    for (const name of ['confirmed', 'lost', 'lost-reading', `${'0'.repeat(16)}.seg`]) {
      fs.symlinkSync(victim, join(dir, name));
    }
    const journal = open(dir, { maxBytes: 64 << 10 });
    for (const text of numbers(0, 3)) journal.append(text, META);
    expect(readAll(journal)).toEqual(['0', '1', '2']);
    journal.confirm(2);
    journal.close();
    expect(fs.readFileSync(victim, 'utf8')).toBe('precious');
    expect(readAll(open(dir))).toEqual(['2']);
  });

  it('rescues what it can when the folder is removed, and says so once', async () => {
    const dir = join(scratch(), 'a', 'slot-0');
    const problems: JournalProblem[] = [];
    const journal = open(dir, { onProblem: (problem) => problems.push(problem) });
    for (const text of numbers(0, 5)) journal.append(text, META);
    await turn();
    expect(readAll(journal)).toEqual(numbers(0, 5));
    fs.rmSync(join(dir, '..'), { recursive: true });
    for (let n = 5; problems.length === 0; n++) {
      journal.append(String(n), META);
      journal.flush();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    journal.append('last', META);
    journal.flush();
    journal.confirm(2);
    const all = readAll(journal);
    expect(all).toEqual([...numbers(2, journal.end - 1), 'last']);
    expect(problems.map(({ cause, state }) => [cause, state])).toEqual([['removed', 'noted']]);
    expect(journal.losses.records).toBe(0);
    journal.close();
    expect(readAll(open(dir))).toEqual(all);
  });

  it('makes its folder again when it was removed before anything was written', () => {
    const dir = join(scratch(), 'a', 'slot-0');
    const problems: JournalProblem[] = [];
    const journal = open(dir, { onProblem: (problem) => problems.push(problem) });
    fs.rmSync(join(dir, '..'), { recursive: true });
    journal.append('x', META);
    expect(readAll(journal)).toEqual(['x']);
    expect(problems.map(({ cause }) => cause)).toEqual(['removed']);
    expect(fs.readdirSync(dir)).toContain(`${'0'.repeat(16)}.seg`);
  });
});
