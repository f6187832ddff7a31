import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openJournal, openJournalWriter } from '../../src/journal/durable.js';
import type { Journal } from '../../src/journal/journal.js';
import type { JournalProblem } from '../../src/journal/options.js';
import { openJournalReader } from '../../src/journal/reader.js';
import { claimSlot } from '../../src/journal/slots.js';

const META = { kind: 1, task: 0 };
const mountPoint = mkdtempSync(join(tmpdir(), 'z4j-disk-'));

function run(command: string, ...parameters: string[]): boolean {
  try {
    execFileSync(command, parameters, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const mounted = process.platform === 'linux' && run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mountPoint);
if (!mounted) console.warn('SKIPPED: full disk and read-only home need the right to mount a tmpfs');

afterAll(() => {
  if (mounted) run('umount', '-l', mountPoint);
  rmSync(mountPoint, { recursive: true, force: true });
});

function readAll(journal: Pick<Journal, 'read'>): string[] {
  const texts: string[] = [];
  for (let batch = journal.read(0, { records: 50, bytes: 1e6 }); batch !== undefined; ) {
    texts.push(...batch.records.map(String));
    batch = journal.read(batch.end, { records: 50, bytes: 1e6 });
  }
  return texts;
}

function fill(journal: Pick<Journal, 'append' | 'flush'>, texts: string[], records: number): void {
  for (let n = 0; n < records; n++) {
    const text = `${texts.length}:${'x'.repeat(1000)}`;
    texts.push(text);
    journal.append(text, META);
    if (n % 7 === 0) journal.flush();
  }
  journal.flush();
}

describe.runIf(mounted)('a disk of 1 MiB', () => {
  let problems: JournalProblem[];
  const states = (): string[][] => problems.map(({ cause, state }) => [cause, state]);
  beforeAll(() => {
    problems = [];
  });

  it('that is full costs nothing within the limits of memory, one line, and another when it has room', {
    timeout: 20_000,
  }, () => {
    problems = [];
    const dir = join(mountPoint, 'a', 'slot-0');
    const journal = openJournal({ dir, maxBytes: 64 << 20, onProblem: (problem) => problems.push(problem) });
    const texts: string[] = [];
    fill(journal, texts, 3000);
    expect(states()).toEqual([['ENOSPC', 'degraded']]);
    expect(readAll(journal)).toEqual(texts);
    journal.confirm(2990);
    fill(journal, texts, 10);
    expect(states()).toEqual([
      ['ENOSPC', 'degraded'],
      ['ENOSPC', 'recovered'],
    ]);
    expect(readAll(journal)).toEqual(texts.slice(2990));
    expect(journal.losses.records).toBe(0);
    journal.close();
    const again = openJournal({ dir, maxBytes: 64 << 20 });
    expect(readAll(again)).toEqual(texts.slice(2990));
    again.confirm(again.end);
    again.close();
  });

  it('counts what no longer fits into memory either', { timeout: 20_000 }, () => {
    problems = [];
    const dir = join(mountPoint, 'b', 'slot-0');
    const options = { dir, maxBytes: 64 << 20, memoryBytes: 500_000 };
    const journal = openJournal({ ...options, onProblem: (problem) => problems.push(problem) });
    const texts: string[] = [];
    fill(journal, texts, 3000);
    const read = readAll(journal);
    expect(read.length).toBeGreaterThan(800);
    expect(read.length + journal.losses.records).toBe(3000);
    expect(read.at(-1)).toBe(texts.at(-1));
    expect(readAll(journal)).toEqual(read);
    const { losses } = journal;
    journal.confirm(2000);
    fill(journal, texts, 1);
    const left = readAll(journal);
    expect(left).toEqual(texts.slice(-left.length));
    expect(states().at(-1)).toEqual(['ENOSPC', 'recovered']);
    expect(journal.losses).toEqual(losses);
    journal.confirm(journal.end);
    journal.close();
  });

  it('that is full is no matter to a reader in another thread', { timeout: 20_000 }, async () => {
    rmSync(join(mountPoint, 'b'), { recursive: true });
    const writer = openJournalWriter({ dir: join(mountPoint, 't', 'slot-0'), maxBytes: 64 << 20 });
    const reader = openJournalReader(writer.connect());
    const texts: string[] = [];
    fill(writer, texts, 2000);
    await expect.poll(() => reader.end, { timeout: 10_000 }).toBe(2000);
    expect(readAll(reader)).toEqual(texts);
    reader.confirm(1990);
    writer.sweep();
    expect(writer.shared.end).toBe(2000);
    fill(writer, texts, 5);
    expect(readAll(reader)).toEqual(texts.slice(1990));
    expect(reader.size.records).toBe(15);
    expect(reader.losses.records).toBe(0);
    reader.close();
    writer.close();
    rmSync(join(mountPoint, 't'), { recursive: true });
  });

  it('that becomes read-only is left alone until it no longer is', { timeout: 30_000 }, async () => {
    problems = [];
    rmSync(join(mountPoint, 'a'), { recursive: true });
    const dir = join(mountPoint, 'c', 'slot-0');
    // A file open for writing keeps the file system from becoming read-only: nothing is written before.
    const journal = openJournal({ dir, maxBytes: 64 << 20, onProblem: (problem) => problems.push(problem) });
    expect(run('mount', '-o', 'remount,ro', mountPoint)).toBe(true);
    const texts: string[] = [];
    fill(journal, texts, 10);
    expect(states()).toEqual([['EROFS', 'degraded']]);
    expect(problems[0]?.message).toContain('read-only');
    expect(readAll(journal)).toEqual(texts);
    const claim = claimSlot(mountPoint, 'agent');
    await expect(claim).rejects.toMatchObject({ name: 'JournalError', code: 'unwritable' });
    await expect(claim).rejects.toThrow('the file system is read-only');
    expect(run('mount', '-o', 'remount,rw', mountPoint)).toBe(true);
    await expect.poll(() => problems.length, { timeout: 20_000 }).toBe(2);
    expect(readAll(journal)).toEqual(texts);
    expect(readdirSync(dir).filter((name) => name.endsWith('.seg'))).toHaveLength(1);
    journal.close();
  });
});
