import { describe, expect, test } from 'vitest';
import { memoryJournal } from '../../../src/journal/memory.js';
import { Backoff } from '../../../src/link/backoff.js';
import { Isolation } from '../../../src/link/isolation.js';
import { Outbox } from '../../../src/link/outbox.js';
import { Outflow } from '../../../src/link/outflow.js';
import { proxyFor } from '../../../src/link/proxy.js';
import { UploadLimit } from '../../../src/link/upload-limit.js';
import { brainAddress } from '../../../src/link/url.js';
import { type SentFrame, Window } from '../../../src/link/window.js';

describe('brainAddress', () => {
  test.each([
    ['https://brain.example', 'wss://brain.example/ws/agent', 'https://brain.example/api/v1/agent'],
    ['https://brain.example/', 'wss://brain.example/ws/agent', 'https://brain.example/api/v1/agent'],
    ['wss://brain.example/ws', 'wss://brain.example/ws/agent', 'https://brain.example/api/v1/agent'],
    [
      'wss://brain.example:8443/ws/agent/',
      'wss://brain.example:8443/ws/agent',
      'https://brain.example:8443/api/v1/agent',
    ],
    ['https://example.com/z4j/', 'wss://example.com/z4j/ws/agent', 'https://example.com/z4j/api/v1/agent'],
    ['https://example.com/z4j/ws', 'wss://example.com/z4j/ws/agent', 'https://example.com/z4j/api/v1/agent'],
    [' http://localhost:7700 ', 'ws://localhost:7700/ws/agent', 'http://localhost:7700/api/v1/agent'],
    ['ws://127.0.0.1:7700', 'ws://127.0.0.1:7700/ws/agent', 'http://127.0.0.1:7700/api/v1/agent'],
    ['http://[::1]:7700', 'ws://[::1]:7700/ws/agent', 'http://[::1]:7700/api/v1/agent'],
    ['https://user:secret@brain.example/?x#y', 'wss://brain.example/ws/agent', 'https://brain.example/api/v1/agent'],
  ])('%s', (text, websocket, api) => {
    const address = brainAddress(text);
    expect(address.websocket.href).toBe(websocket);
    expect(address.api.href).toBe(api);
  });

  test.each(['', 'brain.example', 'ftp://brain.example', 'https://', 'javascript:alert(1)', '/ws'])(
    'refuses %j',
    (text) => {
      expect(() => brainAddress(text)).toThrow(expect.objectContaining({ name: 'LinkError', code: 'url' }));
    },
  );

  test.each(['ws://brain.example', 'http://10.0.0.1:7700', 'http://localhost.example.com'])(
    'refuses plain %s',
    (text) => {
      expect(() => brainAddress(text)).toThrow(/use https:\/\//);
      expect(brainAddress(text, { allowPlain: true }).websocket.protocol).toBe('ws:');
    },
  );

  test('never repeats a secret', () => {
    expect(() => brainAddress('htp://token:s3cret@x')).toThrow(expect.not.objectContaining({ message: /s3cret/ }));
    expect(() => brainAddress('http://token:s3cret@x')).toThrow(expect.not.objectContaining({ message: /s3cret/ }));
  });
});

describe('proxyFor', () => {
  const wss = new URL('wss://brain.example/ws/agent');
  test.each([
    [{}, undefined],
    [{ HTTPS_PROXY: 'http://proxy:3128' }, 'proxy:3128'],
    [{ https_proxy: 'proxy:3128', HTTPS_PROXY: 'http://other' }, 'proxy:3128'],
    [{ HTTP_PROXY: 'http://proxy:3128' }, undefined],
    [{ ALL_PROXY: 'http://proxy:3128' }, 'proxy:3128'],
    [{ HTTPS_PROXY: 'http://proxy', NO_PROXY: 'brain.example' }, undefined],
    [{ HTTPS_PROXY: 'http://proxy', NO_PROXY: 'a.b, .example' }, undefined],
    [{ HTTPS_PROXY: 'http://proxy', NO_PROXY: '*.example' }, undefined],
    [{ HTTPS_PROXY: 'http://proxy', NO_PROXY: 'brain.example:443' }, undefined],
    [{ HTTPS_PROXY: 'http://proxy', NO_PROXY: 'brain.example:444' }, 'proxy'],
    [{ HTTPS_PROXY: 'http://proxy', NO_PROXY: 'rain.example' }, 'proxy'],
    [{ HTTPS_PROXY: 'http://proxy', no_proxy: '*' }, undefined],
  ])('%j', (env, host) => {
    expect(proxyFor(wss, env as { [name: string]: string })?.host).toBe(host);
  });

  test('a proxy that is no HTTP proxy is refused', () => {
    expect(() => proxyFor(wss, { HTTPS_PROXY: 'socks5://proxy' })).toThrow(/HTTPS_PROXY/);
    expect(() => proxyFor(wss, { HTTPS_PROXY: 'http://' })).toThrow(/HTTPS_PROXY/);
  });
});

test('Backoff doubles by class, spreads, and is reset as a whole', () => {
  const backoff = new Backoff({ random: () => 0 });
  expect([1, 2, 3, 4, 5, 6, 7].map(() => backoff.next('connection'))).toEqual([
    1000, 2000, 4000, 8000, 16_000, 30_000, 30_000,
  ]);
  expect(backoff.next('auth')).toBe(10_000);
  expect(backoff.next('incompatible')).toBe(300_000);
  expect(backoff.streak('connection')).toBe(7);
  backoff.reset();
  expect(backoff.next('connection')).toBe(1000);
  expect(new Backoff({ random: () => 1 }).next('connection')).toBe(1300);
});

const frame = (id: string, start: number, end: number, sentAt = 0): SentFrame => ({
  id,
  start,
  end,
  events: end - start,
  left: 0,
  bytes: (end - start) * 100,
  last: undefined,
  sentAt,
});

describe('Window', () => {
  test('holds 300 events until the brain is measured', () => {
    const window = new Window();
    expect(window.room(1, 0)).toBe(1);
    expect(window.room(1000, 0)).toBe(150);
    window.sent(frame('a', 0, 150));
    expect(window.room(1000, 0)).toBe(150);
    window.sent(frame('b', 150, 300));
    expect(window.room(1000, 0)).toBe(0);
  });

  test('lets a small frame wait while others are in flight, but not for long', () => {
    const window = new Window();
    window.sent(frame('a', 0, 10));
    expect(window.room(20, 0)).toBe(0);
    expect(window.room(100, 0)).toBe(100);
    expect(window.room(20, 1000)).toBe(20);
  });

  test('gathers what trickles in for one frame; the first after a pause and what is worth one go at once', () => {
    const window = new Window();
    expect(window.early(1, 0)).toBe(0);
    window.sent(frame('a', 0, 4, 1000));
    window.ack('a', 1001);
    expect(window.early(1, 1002)).toBe(13);
    expect(window.early(100, 1002)).toBe(0);
    expect(window.early(1, 1015)).toBe(0);
    // What was passed over did not go to the brain.
    window.sent({ ...frame('', 4, 8, 1014), events: 0 });
    expect(window.early(1, 1015)).toBe(0);
    window.sent(frame('b', 8, 9, 1016));
    window.clear();
    expect(window.early(1, 1017)).toBe(0);
  });

  test('gathers longer while events go on trickling in', () => {
    const window = new Window();
    const waits: number[] = [];
    let now = 1000;
    for (let i = 0; i < 5; i++) {
      window.sent(frame(String(i), i, i + 1, now));
      window.ack(String(i), now);
      const wait = window.early(1, now);
      waits.push(wait);
      now += wait;
    }
    expect(waits).toEqual([15, 30, 50, 50, 50]);
    now += 200;
    expect(window.early(1, now)).toBe(0);
    window.sent(frame('x', 5, 6, now));
    expect(window.early(1, now)).toBe(15);
  });

  test('keeps about a second of work with a slow brain and fills up for a fast one', () => {
    const slow = new Window();
    let now = 0;
    for (let i = 0; i < 10; i++) {
      slow.sent(frame(String(i), i * 100, i * 100 + 100, now));
      now += 1000;
      slow.ack(String(i), now);
      slow.advance();
    }
    expect(slow.rate).toBeCloseTo(100, 0);
    expect(slow.frameSize).toBe(50);
    slow.sent(frame('x', 1000, 1050, now));
    expect(slow.room(1000, 0)).toBe(50);
    slow.sent(frame('y', 1050, 1100, now));
    expect(slow.room(1000, 0)).toBe(0);

    const fast = new Window();
    for (let i = 0; i < 10; i++) {
      fast.sent(frame(String(i), i * 250, i * 250 + 250, i));
      fast.ack(String(i), i + 1);
      fast.advance();
    }
    let frames = 0;
    for (; fast.room(1e6, 0) > 0; frames++) fast.sent(frame(`f${frames}`, frames * 250, frames * 250 + 250, 100));
    expect(frames).toBe(20);
  });

  test('takes acks in any order, once, and confirms only what is complete', () => {
    const window = new Window();
    window.sent(frame('a', 0, 10, 0));
    window.sent(frame('b', 10, 20, 0));
    window.sent(frame('c', 20, 30, 0));
    expect(window.ack('b', 5)?.id).toBe('b');
    expect(window.advance()).toBeUndefined();
    expect(window.ack('b', 6)).toBeUndefined();
    expect(window.ack('zzz', 6)).toBeUndefined();
    expect(window.events).toBe(20);
    window.ack('a', 7);
    expect(window.advance()).toBe(20);
    expect(window.waitingSince).toBe(7);
    expect(window.clear().map(({ id }) => id)).toEqual(['c']);
    expect(window.events).toBe(0);
    expect(window.waitingSince).toBeUndefined();
  });

  test('counts the time without progress from the last confirmation, not from the first frame', () => {
    const window = new Window();
    window.sent(frame('a', 0, 10, 0));
    window.sent(frame('b', 10, 20, 0));
    window.ack('a', 50_000);
    window.advance();
    expect(window.waitingSince).toBe(50_000);
  });
});

/** A brain that refuses `bad`, and everything while it is `ill`. */
function search(
  count: number,
  bad: ReadonlySet<number>,
  certain: boolean,
  ill: (step: number) => boolean = () => false,
) {
  const isolation = new Isolation();
  let confirmed = 0;
  const given: number[] = [];
  let sample = false;
  let steps = 0;
  let open: SentFrame[] = [frame('all', 0, count)];
  for (; confirmed < count && steps < 2000; steps++) {
    const refused = ill(steps) || open.some(({ start, end }) => [...bad].some((at) => at >= start && at < end));
    if (refused) {
      const at = isolation.refused(open, certain && !ill(steps));
      if (at !== undefined) {
        given.push(at);
        confirmed = Math.max(confirmed, at + 1);
      }
    } else {
      for (const sent of open) {
        sample = true;
        if (!isolation.active || isolation.acked(sent)) confirmed = Math.max(confirmed, sent.end);
      }
    }
    const step = isolation.next(confirmed, count, sample);
    const { start, records } = step ?? { start: confirmed, records: 250 };
    open = [frame(String(steps), start, Math.min(start + records, count))];
  }
  return { given, steps, confirmed };
}

test('Outflow does not gather what a flush is for', () => {
  const journal = memoryJournal({ maxBytes: 1000 });
  const outflow = new Outflow({ journal, now: () => 0, onGivenUp: () => undefined });
  const append = (): void => journal.append('{}', { kind: 0, task: 0 });
  append();
  const first = outflow.next(1e6);
  expect(first?.records).toHaveLength(1);
  outflow.ack(first?.id ?? '');
  append();
  expect(outflow.next(1e6)).toBeUndefined();
  // Who appends now need not wake anybody, until there is enough for a frame.
  expect(outflow.wanting).toBe(false);
  for (let n = 1; n < 100; n++) append();
  expect(outflow.wanting).toBe(true);
  const second = outflow.next(1e6);
  expect(second?.records).toHaveLength(100);
  outflow.ack(second?.id ?? '');
  append();
  expect(outflow.next(1e6)).toBeUndefined();
  outflow.hurry();
  expect(outflow.next(1e6)?.records).toHaveLength(1);
  journal.close();
});

describe('Isolation', () => {
  test.each([
    [1000, [337]],
    [250, [0]],
    [250, [249]],
    [250, [10, 11, 12]],
    [600, [0, 1, 300, 599]],
    [2, [0]],
    [2, [1]],
  ])('of %i finds %j', (count, bad) => {
    for (const certain of [true, false]) {
      const { given, steps, confirmed } = search(count, new Set(bad), certain);
      expect(given).toEqual(bad);
      expect(confirmed).toBe(count);
      expect(steps).toBeLessThan(40 * bad.length + 20);
    }
  });

  test('gives nothing up while the brain is ill, whenever it gets well', () => {
    for (let well = 1; well < 60; well++) {
      const { given, confirmed } = search(20, new Set(), false, (step) => step < well);
      expect({ well, given, confirmed }).toEqual({ well, given: [], confirmed: 20 });
    }
  });

  test('keeps the only record there is', () => {
    expect(search(1, new Set([0]), false).given).toEqual([]);
  });
});

test('Outbox gives results again to a new connection for a minute', () => {
  const outbox = new Outbox();
  const answer = { status: 'success', result: 1, error: null } as const;
  outbox.add('a', answer, null, 0);
  expect(outbox.empty).toBe(false);
  for (const result of outbox.unwritten()) result.writtenAt = 1000;
  expect(outbox.empty).toBe(true);
  outbox.reopen(50_000);
  expect(outbox.unwritten().map(({ id }) => id)).toEqual(['a']);
  for (const result of outbox.unwritten()) result.writtenAt = 51_000;
  outbox.reopen(112_000);
  expect(outbox.unwritten()).toEqual([]);
});

test('UploadLimit grows after success and never again after 413', () => {
  const limit = new UploadLimit();
  expect(limit.size).toBe(8000);
  limit.taken(1000);
  expect(limit.size).toBe(8000);
  limit.taken(7000);
  expect(limit.size).toBe(16_000);
  limit.refused(15_000);
  expect(limit.size).toBe(7500);
  limit.taken(7400);
  expect(limit.size).toBe(7500);
});
