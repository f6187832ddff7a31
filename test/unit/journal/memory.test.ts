import { describe, expect, it } from 'vitest';
import { memoryJournal } from '../../../src/journal/memory.js';

const META = { kind: 3, task: 7 };
const ALL = { records: 1000, bytes: 1 << 20 };
const texts = (batch: { records: readonly Buffer[] } | undefined): string[] | undefined =>
  batch?.records.map((record) => record.toString());

describe('memoryJournal', () => {
  it('hands records back in order, as many as fit', () => {
    const journal = memoryJournal({ maxBytes: 1000 });
    for (const text of ['{"a":1}', '{"b":2}', '{"ü":3}']) journal.append(text, META);
    expect(texts(journal.read(0, ALL))).toEqual(['{"a":1}', '{"b":2}', '{"ü":3}']);
    expect(journal.read(1, { records: 1, bytes: 1 })).toMatchObject({ start: 1, end: 2, bytes: 7 });
    expect(texts(journal.read(0, { records: 10, bytes: 14 }))).toHaveLength(2);
    expect(journal.read(3, ALL)).toBeUndefined();
    expect(journal.size).toEqual({ records: 3, bytes: 22 });
  });

  it('forgets what was confirmed and goes on counting', () => {
    const journal = memoryJournal({ maxBytes: 1000, start: 40 });
    for (let n = 0; n < 5; n++) journal.append(String(n), META);
    journal.confirm(42);
    journal.confirm(41);
    expect([journal.confirmed, journal.end]).toEqual([42, 45]);
    expect(journal.read(0, ALL)).toMatchObject({ start: 42, end: 45 });
    journal.confirm(1e9);
    expect([journal.confirmed, journal.end]).toEqual([45, 45]);
    expect(journal.oldestAt).toBeUndefined();
    expect(journal.losses.records).toBe(0);
  });

  it('evicts the oldest over the limit and counts by kind', () => {
    const journal = memoryJournal({ maxBytes: 10 });
    for (let n = 0; n < 5; n++) journal.append('xxxx', { kind: n % 2, task: 0 });
    journal.append('x'.repeat(11), { kind: 9, task: 0 });
    expect(journal.read(0, ALL)).toMatchObject({ start: 3, end: 5 });
    expect(journal.losses.records).toBe(4);
    expect([...journal.losses.byKind]).toEqual([
      [0, 2],
      [1, 1],
      [9, 1],
    ]);
  });

  it('tells its listener once a turn', async () => {
    const journal = memoryJournal({ maxBytes: 1000 });
    let told = 0;
    journal.onAppend = () => told++;
    journal.append('a', META);
    journal.append('b', META);
    expect(told).toBe(0);
    await new Promise(setImmediate);
    expect(told).toBe(1);
    journal.append('c', META);
    journal.close();
    await new Promise(setImmediate);
    expect(told).toBe(1);
  });

  it('stays small over many turns of a window', () => {
    const journal = memoryJournal({ maxBytes: 1 << 20 });
    for (let n = 0; n < 50_000; n++) {
      journal.append(String(n), META);
      if (n >= 10) journal.confirm(n - 9);
    }
    expect(texts(journal.read(0, ALL))?.[0]).toBe('49990');
    expect(journal.size.records).toBe(10);
  });
});
