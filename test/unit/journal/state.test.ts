import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasUnsent, openResults, RESULTS_FILE } from '../../../src/journal/results.js';
import { openState } from '../../../src/journal/state.js';
import { scratch, turn } from './support.js';

describe('openState', () => {
  it('remembers across restarts', async () => {
    const dir = scratch();
    const state = openState(dir);
    state.set('a', { deep: ['ü', 1, null] });
    state.set('b', 2);
    state.delete('b');
    await turn();
    const again = openState(dir);
    expect(again.get('a')).toEqual({ deep: ['ü', 1, null] });
    expect(again.keys()).toEqual(['a']);
    expect(fs.readdirSync(dir)).toEqual(['state.json']);
  });

  it('is bounded and survives rubbish', () => {
    const dir = scratch();
    const state = openState(dir, { maxBytes: 1000 });
    expect(state.set('a', 'x'.repeat(2000))).toBe(false);
    expect(state.set('a', 'x'.repeat(500))).toBe(true);
    expect(state.set('b', 'x'.repeat(500))).toBe(false);
    state.delete('a');
    expect(state.set('b', 'x'.repeat(500))).toBe(true);
    state.flush();
    expect(openState(dir).get('b')).toHaveLength(500);
    for (const rubbish of ['', '{"a":', '[1]', 'null', '7']) {
      fs.writeFileSync(join(dir, 'state.json'), rubbish);
      expect(openState(dir).keys()).toEqual([]);
    }
  });

  it('goes on in memory without a disk and says so once', () => {
    const problems: unknown[] = [];
    const dir = join(scratch(), 'missing');
    const state = openState(dir, { onProblem: (error) => problems.push(error) });
    for (const value of [1, 2]) {
      state.set('a', value);
      state.flush();
    }
    expect([state.get('a'), problems.length]).toEqual([2, 1]);
    fs.mkdirSync(dir);
    state.set('a', 3);
    state.flush();
    expect(openState(dir).get('a')).toBe(3);
  });
});

describe('openResults', () => {
  it('knows what began, what ended and what was sent, across a crash', () => {
    const dir = scratch();
    const results = openResults<{ ok: boolean }>(dir);
    expect([results.begin('a'), results.begin('b'), results.begin('c')]).toEqual(['new', 'new', 'new']);
    expect(results.begin('a')).toBe('running');
    results.finish('b', { ok: true });
    results.finish('c', { ok: false });
    results.sent('c');
    expect(results.unsent()).toEqual([{ key: 'b', result: { ok: true } }]);
    // No close: the process is gone.
    fs.appendFileSync(join(dir, RESULTS_FILE), '{"key":"torn","at":17');
    expect(hasUnsent(dir)).toBe(true);
    const next = openResults<{ ok: boolean }>(dir);
    expect(next.interrupted()).toEqual(['a']);
    expect(next.begin('a')).toBe('interrupted');
    expect(next.begin('a')).toBe('running');
    expect(next.begin('b')).toEqual({ ok: true });
    expect(next.begin('c')).toEqual({ ok: false });
    expect(next.unsent().map(({ key }) => key)).toEqual(['b']);
    next.sent('b');
    expect(next.begin('torn')).toBe('new');
    expect(hasUnsent(dir)).toBe(true);
    next.close();
    results.close();
  });

  it('forgets after its time and stays within its bytes, unsent results last', () => {
    const dir = scratch();
    openResults(dir).begin('old');
    expect(openResults(dir, { ttlMs: -1000 }).begin('old')).toBe('new');
    const results = openResults<string>(dir, { maxBytes: 10_000 });
    results.begin('kept');
    results.finish('kept', 'never sent');
    for (let n = 0; n < 200; n++) {
      results.begin(`k${n}`);
      results.finish(`k${n}`, 'x'.repeat(100));
      results.sent(`k${n}`);
      expect(fs.statSync(join(dir, RESULTS_FILE)).size).toBeLessThanOrEqual(10_000);
    }
    results.close();
    const again = openResults<string>(dir);
    expect(again.unsent()).toEqual([{ key: 'kept', result: 'never sent' }]);
    expect(again.begin('k199')).toBe('x'.repeat(100));
    expect(again.begin('k0')).toBe('new');
    again.close();
  });

  it('goes on in memory without a disk, and is complete when the disk is back', () => {
    const dir = join(scratch(), 'missing');
    const problems: unknown[] = [];
    const results = openResults<number>(dir, { onProblem: (error) => problems.push(error) });
    results.begin('a');
    results.finish('a', 1);
    expect([results.begin('a'), problems.length]).toEqual([1, 1]);
    fs.mkdirSync(dir);
    results.begin('b');
    results.close();
    const again = openResults<number>(dir);
    expect([again.begin('a'), again.begin('b')]).toEqual([1, 'interrupted']);
    again.close();
  });
});
