import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nextMatch, problem } from '../../../instrumentations/node-cron/expressions.js';
import { targetOf } from './hosts.js';

interface Matcher {
  match(date: Date): boolean;
}

const at = (iso: string): number => Date.parse(iso);

describe('nextMatch', () => {
  it.each([
    // Clocks go forward over 02:30 in New York on 8 March 2026, and show 01:30 twice on 1 November.
    ['30 2 * * *', 'America/New_York', '2026-03-07T12:00:00Z', '2026-03-09T06:30:00.000Z'],
    ['30 1 * * *', 'America/New_York', '2026-10-31T12:00:00Z', '2026-11-01T05:30:00.000Z'],
    ['0 9 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', '2026-03-29T07:00:00.000Z'],
    ['0 9 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', '2026-10-25T08:00:00.000Z'],
    ['0 9 * * *', 'Australia/Lord_Howe', '2026-04-04T12:00:00Z', '2026-04-04T22:30:00.000Z'],
    ['0 0 29 2 *', 'UTC', '2026-03-01T00:00:00Z', '2028-02-29T00:00:00.000Z'],
    ['0 0 31 * *', 'UTC', '2026-02-01T00:00:00Z', '2026-03-31T00:00:00.000Z'],
    ['*/7 * * * * *', 'UTC', '2026-01-01T00:00:56Z', '2026-01-01T00:01:00.000Z'],
    ['0 12 * feb,apr mon-fri', 'UTC', '2026-02-27T13:00:00Z', '2026-04-01T12:00:00.000Z'],
    ['0 0 * * 7', 'UTC', '2026-01-01T00:00:00Z', '2026-01-04T00:00:00.000Z'],
  ])('%s in %s after %s is %s', (expression, zone, from, expected) => {
    expect(new Date(nextMatch(expression, zone, at(from), 'and') ?? 0).toISOString()).toBe(expected);
  });

  it('takes either day in 2.x and needs both in 3.x', () => {
    const from = at('2026-01-02T00:00:00Z');
    const next = (days: 'and' | 'or') => new Date(nextMatch('0 0 13 * 5', 'UTC', from, days) ?? 0).toISOString();
    expect(next('or')).toBe('2026-01-09T00:00:00.000Z');
    expect(next('and')).toBe('2026-02-13T00:00:00.000Z');
  });

  it('has no answer for what never comes or is not understood', () => {
    expect(nextMatch('0 0 30 2 *', 'UTC', 0, 'and')).toBeUndefined();
    expect(nextMatch('0 0 L * *', 'UTC', 0, 'and')).toBeUndefined();
    expect(nextMatch('', 'UTC', 0, 'and')).toBeUndefined();
  });

  it('agrees with the matcher of 3.x', async () => {
    const load = createRequire(join(await targetOf('3.0.3'), 'x.js'));
    const TimeMatcher = load('node-cron/src/time-matcher') as new (expression: string, zone: string) => Matcher;
    const from = at('2026-03-07T23:58:12.345Z');
    for (const expression of [
      '*/13 */7 * * * *',
      '5,10-20/5 0 0 8 3 *',
      '0 59 23 * * sat',
      '59 59 * * march *',
      '1 0 12-14 * * 1-7',
    ]) {
      const matcher = new TimeMatcher(expression, 'UTC');
      let brute = Math.floor(from / 1000) * 1000 + 1000;
      while (!matcher.match(new Date(brute))) brute += 1000;
      expect(new Date(nextMatch(expression, 'UTC', from, 'and') ?? 0).toISOString(), expression).toBe(
        new Date(brute).toISOString(),
      );
    }
  });
});

describe('problem', () => {
  it.each([
    ['* * * * *', '2.0.3', true],
    ['0 */5 1-5 1,15 jan-mar sunday', '3.0.3', true],
    ['0 0 15W * *', '4.2.1', false],
    ['0 0 15W * *', '4.6.0', true],
    ['0 0 L * *', '4.2.1', false],
    ['0 0 L * *', '4.3.0', true],
    ['0 0 * * 5L', '4.2.1', false],
    ['0 0 * * 5L', '4.3.0', true],
    ['0 0 * * 2#3', '4.4.1', false],
    ['0 0 * * 2#3', '4.5.0', true],
    ['0 0 L-3 * ?', '4.5.0', false],
    ['0 0 L-3 * ?', '4.6.0', true],
    ['@daily', '4.5.0', false],
    ['@daily', '4.6.0', true],
    ['60 * * * *', '4.6.0', false],
    ['* * *', '4.6.0', false],
    ['0 0 * * 8', '4.6.0', false],
    ['a * * * *', '4.6.0', false],
    ['*/0 * * * *', '4.6.0', false],
    ['1-2-3 * * * *', '4.6.0', false],
  ])('%s on %s: %s', (expression, version, fine) => {
    expect(problem(expression, version) === undefined).toBe(fine);
  });
});
