import { describe, expect, it } from 'vitest';
import type { Journal } from '../../../src/journal/journal.js';
import { open, scratch } from './support.js';

const seed = Number(process.env.Z4J_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** mulberry32 */
function random(state: number): () => number {
  let a = state;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const textOf = (position: number): string => `${position}:${'x'.repeat((position * 7919) % 5000)}`;

describe('a journal through anything', () => {
  it(`reads, in order, what was neither confirmed nor counted as lost (seed ${seed})`, { timeout: 60_000 }, () => {
    const next = random(seed);
    const upTo = (limit: number): number => Math.floor(next() * limit);
    const dir = scratch();
    const problems = new Set<string>();
    const reopen = (): Journal => open(dir, { maxBytes: 1 << 20, onProblem: ({ cause }) => problems.add(cause) });
    let journal = reopen();
    let appended = 0;
    /** Positions that were confirmed while they were there. */
    let confirmed = 0;
    let at = 0;
    const actions: (() => void)[] = [
      () => {
        for (let n = upTo(60); n >= 0; n--, appended++)
          journal.append(textOf(appended), { kind: upTo(5), task: appended });
      },
      () => journal.flush(),
      () => {
        const batch = journal.read(at, { records: 1 + upTo(30), bytes: 1 + upTo(50_000) });
        if (batch === undefined) {
          expect(Math.max(at, journal.confirmed)).toBe(appended);
          return;
        }
        expect(batch.start).toBe(Math.max(at, journal.confirmed));
        expect(batch.records.map(String)).toEqual(batch.records.map((_, index) => textOf(batch.start + index)));
        expect(batch.end - batch.start).toBe(batch.records.length);
        at = batch.end;
      },
      () => {
        const end = Math.max(journal.confirmed, at - upTo(20));
        confirmed += end - journal.confirmed;
        journal.confirm(end);
        expect(journal.confirmed).toBe(end);
      },
      () => {
        at = upTo(appended + 1);
      },
      () => {
        // With or without a close: what was flushed is there.
        journal.flush();
        if (next() < 0.5) journal.close();
        const before = { confirmed: journal.confirmed, losses: journal.losses, end: journal.end };
        journal = reopen();
        expect(journal.end).toBe(before.end);
        expect(journal.losses).toEqual(before.losses);
        expect(journal.confirmed).toBeLessThanOrEqual(before.confirmed);
        confirmed -= before.confirmed - journal.confirmed;
      },
    ];
    for (let step = 0; step < 1500; step++) {
      actions[step % 40 === 0 ? 5 : upTo(5)]?.();
      expect(journal.size.records).toBe(appended - journal.confirmed);
    }
    journal.flush();
    expect(confirmed + journal.losses.records + journal.size.records).toBe(appended);
    expect(journal.size.bytes).toBeLessThanOrEqual(1 << 20);
    // What was dropped for want of room is no damage.
    expect([...problems].filter((cause) => cause !== 'full')).toEqual([]);
  });
});
