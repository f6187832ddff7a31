import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type CommandResult, INTERRUPTED } from '../../src/commands/router.js';
import { openJournal } from '../../src/journal/durable.js';
import { openResults } from '../../src/journal/results.js';
import { Legacy } from '../../src/legacy.js';
import { drain, memoryStorage, type Storage } from '../../src/storage.js';

const done = (result: string): CommandResult => ({ status: 'success', result, error: null });

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'z4j-legacy-'));
});

afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true, force: true });
});

/** What a process leaves that dies with one command under way, one answered, one done and two that are no answers. */
function leave(folder: string): void {
  const results = openResults<CommandResult>(folder);
  for (const key of ['begun', 'done', 'answered', 'fire:1', 'schedule:2', 'fire:3']) results.begin(key);
  for (const key of ['done', 'answered', 'fire:1']) results.finish(key, done(key));
  results.sent('answered');
  results.close();
}

function heir(adopted?: string): { storage: Storage; answers: [string, CommandResult][]; legacy: Legacy } {
  const answers: [string, CommandResult][] = [];
  const storage: Storage = {
    ...memoryStorage({ bufferMaxBytes: 1 << 20 }),
    results: openResults<CommandResult>(dir),
    async adopt(take) {
      if (adopted === undefined) return;
      const results = openResults<CommandResult>(adopted);
      take(results);
      results.close();
    },
  };
  const legacy = new Legacy({ storage, answer: (id, result) => answers.push([id, result]), times: { first: 1 } });
  return { storage, answers, legacy };
}

describe('the answers that an ended process owed', () => {
  const owed = [
    ['begun', INTERRUPTED],
    ['done', done('done')],
  ];

  test('are sent by the next in its place, until they had the time to arrive', () => {
    vi.useFakeTimers();
    leave(dir);
    const first = heir();
    first.legacy.start();
    expect(first.answers).toEqual(owed);
    first.legacy.stop();
    first.storage.results.close();
    const second = heir();
    second.legacy.start();
    expect(second.answers).toEqual(owed);
    second.legacy.written('begun');
    vi.advanceTimersByTime(59_000);
    expect(second.storage.results.unsent().map(({ key }) => key)).toContain('begun');
    vi.advanceTimersByTime(2000);
    expect(second.storage.results.unsent().map(({ key }) => key)).toEqual(['done', 'fire:1']);
    expect(second.storage.results.begin('begun')).toEqual(INTERRUPTED);
    second.legacy.stop();
    second.storage.results.close();
  });

  test('are sent, and remembered, by the sibling that adopts its slot', async () => {
    const left = mkdtempSync(join(dir, 'adopted-'));
    leave(left);
    const { storage, answers, legacy } = heir(left);
    legacy.start();
    await vi.waitUntil(() => answers.length > 0);
    expect(answers).toEqual(owed);
    expect(storage.results.unsent().map(({ key }) => key)).toEqual(['begun', 'done']);
    legacy.stop();
    storage.results.close();
  });
});

test('what a journal that is closed meanwhile does not take stays where it was', async () => {
  const from = openJournal({ dir: mkdtempSync(join(dir, 'from-')), maxBytes: 1 << 20 });
  const to = openJournal({ dir: mkdtempSync(join(dir, 'to-')), maxBytes: 1 << 20 });
  for (let n = 0; n < 1200; n++) from.append(`{"n":${n}}`, { kind: 0, task: 0 });
  from.flush();
  const draining = drain(from, to);
  to.close();
  await draining;
  expect(from.confirmed).toBe(500);
  expect(from.size.records).toBe(700);
  from.close();
});
