import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { JournalProblem } from '../../../src/journal/options.js';
import { ALL, META, open, readAll, scratch } from './support.js';

const TEXTS = ['{"a":1}', '{"b":22}', '{"c":333}', '{"d":4}'];

/** Folder whose only file is a segment with `TEXTS`, and the path of that. */
function segment(): { dir: string; file: string; bytes: Buffer } {
  const dir = scratch();
  const journal = open(dir);
  for (const text of TEXTS) journal.append(text, META);
  journal.close();
  const file = join(dir, `${'0'.repeat(16)}.seg`);
  return { dir, file, bytes: fs.readFileSync(file) };
}

/** Read and lost together are what was appended; what is read is genuine and in order. */
function expectHonest(dir: string, atLeast: number): void {
  const journal = open(dir);
  const read = readAll(journal);
  expect(read.length).toBeGreaterThanOrEqual(atLeast);
  expect(read).toEqual(TEXTS.filter((text) => read.includes(text)));
  expect(read.length + journal.losses.records).toBe(TEXTS.length);
  journal.append('after', META);
  expect(readAll(journal, journal.end - 1)).toEqual(['after']);
  const lost = journal.losses;
  expect(readAll(journal)).toEqual([...read, 'after']);
  expect(journal.losses).toEqual(lost);
  journal.close();
}

describe('a damaged segment', () => {
  it('gives all but one record, whichever byte was changed', { timeout: 60_000 }, () => {
    const { dir, file, bytes } = segment();
    for (let at = 0; at < bytes.length; at++) {
      for (const name of fs.readdirSync(dir)) fs.rmSync(join(dir, name));
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ 0xff;
      fs.writeFileSync(file, damaged);
      expectHonest(dir, at < 320 ? TEXTS.length : TEXTS.length - 1);
    }
  });

  it('is read up to the cut, wherever it was cut', { timeout: 60_000 }, () => {
    const { dir, file, bytes } = segment();
    for (let length = 0; length < bytes.length; length++) {
      for (const name of fs.readdirSync(dir)) fs.rmSync(join(dir, name));
      fs.writeFileSync(file, bytes.subarray(0, length));
      const journal = open(dir);
      const read = readAll(journal);
      expect(read).toEqual(TEXTS.slice(0, read.length));
      expect(journal.losses.records).toBeLessThanOrEqual(1);
      journal.append('after', META);
      expect(readAll(journal)).toEqual([...read, 'after']);
      journal.close();
    }
  });

  it('in the middle of others costs what it held, once', () => {
    const dir = scratch();
    const first = open(dir, { maxBytes: 8 << 20 });
    const total = 1000;
    for (let n = 0; n < total; n++) {
      first.append(`${n}:${'x'.repeat(1000)}`, META);
      first.flush();
    }
    first.close();
    const files = fs.readdirSync(dir).filter((name) => name.endsWith('.seg'));
    const victim = join(dir, files[1] as string);
    const bytes = fs.readFileSync(victim);
    bytes.fill(0xa5, 30_000, 60_000);
    fs.writeFileSync(victim, bytes);
    fs.rmSync(join(dir, files[3] as string));
    const problems: JournalProblem[] = [];
    const journal = open(dir, { maxBytes: 8 << 20, onProblem: (problem) => problems.push(problem) });
    const read = readAll(journal);
    expect(read.length + journal.losses.records).toBe(total);
    expect(problems).toEqual([
      {
        cause: 'damaged',
        state: 'noted',
        path: dir,
        message: expect.stringMatching(/^\d+ records of the journal cannot be read any more and are lost/),
      },
    ]);
    expect(read.length).toBeGreaterThan(total - 250);
    expect(readAll(journal)).toEqual(read);
    expect(journal.losses.records).toBe(total - read.length);
    expect(journal.read(total - 1, ALL)).toMatchObject({ start: total - 1, end: total });
  });

  it('written to while it is read goes on behind the damage', () => {
    const dir = scratch();
    const journal = open(dir);
    for (const text of TEXTS) journal.append(text, META);
    journal.flush();
    const file = join(dir, `${'0'.repeat(16)}.seg`);
    const fd = fs.openSync(file, 'r+');
    fs.writeSync(fd, Buffer.from('damage'), 0, 6, fs.fstatSync(fd).size - 10);
    fs.closeSync(fd);
    expect(readAll(journal)).toEqual(TEXTS.slice(0, 3));
    expect(journal.losses.records).toBe(1);
    journal.append('next', META);
    expect(readAll(journal, 3)).toEqual(['next']);
    expect(journal.losses.records).toBe(1);
  });
});
