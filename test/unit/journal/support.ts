import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { openJournal } from '../../../src/journal/durable.js';
import type { Journal } from '../../../src/journal/journal.js';
import type { JournalOptions } from '../../../src/journal/options.js';

export const MIB = 1 << 20;
export const ALL = { records: 1e9, bytes: 1e9 };
export const META = { kind: 3, task: 0xdeadbeef };

/** In memory where the system has such a folder: thousands of small files are made and removed. */
const ROOT = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const folders: string[] = [];
const journals: Journal[] = [];

afterEach(() => {
  for (const journal of journals.splice(0)) journal.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A folder that is gone after the test. */
export function scratch(): string {
  const folder = mkdtempSync(join(ROOT, 'z4j-journal-'));
  folders.push(folder);
  return folder;
}

export function open(dir: string, options: Partial<JournalOptions> = {}): Journal {
  const journal = openJournal({ maxBytes: 64 * MIB, ...options, dir });
  journals.push(journal);
  return journal;
}

/** Every record from `start` on, batch by batch. */
export function readAll(journal: Pick<Journal, 'read'>, start = 0, limit = ALL): string[] {
  const texts: string[] = [];
  for (let at = start, batch = journal.read(at, limit); batch !== undefined; batch = journal.read(at, limit)) {
    texts.push(...batch.records.map(String));
    at = batch.end;
  }
  return texts;
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
