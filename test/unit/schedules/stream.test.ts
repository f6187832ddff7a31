import { afterEach, describe, expect, it, vi } from 'vitest';
import { CommandError } from '../../../src/engine.js';
import { readJson, rowDigest } from '../../../src/protocol/index.js';
import { ScheduleStreams } from '../../../src/testing/schedule-streams.js';
import { MemoryEngine } from '../../support/schedules.js';
import { memoryTexts, rig, TIMES } from './rig.js';

const OWNER = 'shop-memory';
const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 8000, interval: 5 });
const open: { close(): void }[] = [];

function process(options: Parameters<typeof rig>[0]) {
  const made = rig(options);
  open.push(made);
  made.connect();
  return made;
}

function engineOf(...names: string[]): MemoryEngine {
  const engine = new MemoryEngine();
  for (const name of names) engine.define(name);
  return engine;
}

afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

describe('activation', () => {
  it('waits until nothing is being defined any more', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine], settleMs: 500 });
    expect(own.snapshots).toEqual([]);
    for (const name of ['b', 'c', 'd']) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      engine.define(name);
    }
    await until(() => expect(own.shown()).toEqual(['a', 'b', 'c', 'd']));
    expect(own.snapshots).toEqual(['1: a b c d']);
  });

  it('answers with the authority and the numbers of the snapshot', async () => {
    const { answers } = process({ engines: [engineOf('a', 'b')] });
    await until(() => expect(answers).toHaveLength(1));
    expect(answers[0]?.result).toMatchObject({
      scheduler: OWNER,
      epoch_number: 1,
      sequence: 1,
      schedule_count: 2,
      frame_count: 2,
    });
  });

  it('shows what is gone once more, disabled, before it drops it', async () => {
    const brain = new ScheduleStreams();
    const texts = memoryTexts();
    const first = process({ engines: [engineOf('a', 'b')], brain, texts });
    await until(() => expect(first.shown()).toEqual(['a', 'b']));
    first.close();
    const second = process({ engines: [engineOf('a', 'c')], brain, texts });
    await until(() => expect(second.shown()).toEqual(['a', 'c']));
    expect(second.snapshots).toEqual(['1: a (b) c', '2: a c']);
    expect(brain.isAmbiguous(OWNER)).toBe(false);
  });

  it('shows an empty inventory as empty', async () => {
    const own = process({ engines: [new MemoryEngine()] });
    await until(() => expect(own.answers).toHaveLength(1));
    expect(own.snapshots).toEqual(['1: ']);
    expect(own.brain.sequence(OWNER)).toBe(1);
  });

  it('waits for an engine that cannot list yet, and publishes nothing meanwhile', async () => {
    const engine = engineOf('a');
    engine.broken = new Error('Connection is closed');
    const own = process({ engines: [engine] });
    await until(() => expect(engine.lists).toBeGreaterThan(2));
    expect(own.sent).toEqual([]);
    engine.broken = undefined;
    await until(() => expect(own.shown()).toEqual(['a']));
  });

  it('fails when the engine never lists, asks for another one, and has published nothing', async () => {
    const engine = engineOf('a');
    engine.broken = new Error('Connection is closed');
    const own = process({ engines: [engine], patienceMs: 60 });
    await until(() => expect(own.answers[0]?.error?.message).toContain('Connection is closed'));
    expect(own.sent).toEqual([]);
    engine.broken = undefined;
    await until(() => expect(own.shown()).toEqual(['a']));
    expect(own.brain.isAmbiguous(OWNER)).toBe(false);
  });

  it('is given up when the connection ends meanwhile; the next one starts at 1', async () => {
    const own = process({ engines: [engineOf('a')], settleMs: 60 });
    own.drop();
    own.connect();
    await until(() => expect(own.shown()).toEqual(['a']));
    expect(own.snapshots).toEqual(['1: a']);
    await until(() => expect(own.answers).toHaveLength(2));
    expect(own.answers.map(({ error }) => error?.message)).toContain(
      'the connection on which this was asked is gone; repeat it',
    );
  });
});

describe('changes', () => {
  it('are gathered: a burst is one snapshot, and two are so far apart', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    const before = own.snapshots.length;
    const start = Date.now();
    for (let i = 0; i < 50; i++) {
      engine.define(`s${i}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => expect(own.shown()).toHaveLength(51));
    const most = 1 + (Date.now() - start) / TIMES.everyMs;
    expect(own.snapshots.length - before).toBeLessThanOrEqual(most);
  });

  it('have one number each, and a number has one content', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine] });
    for (const name of ['b', 'c', 'd']) {
      await until(() => expect(own.shown()).toHaveLength(engine.schedules.size));
      engine.define(name);
    }
    await until(() => expect(own.shown()).toEqual(['a', 'b', 'c', 'd']));
    const ids = new Map<unknown, Set<unknown>>();
    for (const { data } of own.sent) {
      const { sequence, snapshot_id } = data.external_snapshot_frame as { [key: string]: unknown };
      ids.set(sequence, (ids.get(sequence) ?? new Set()).add(snapshot_id));
    }
    expect([...ids.keys()]).toEqual([1, 2, 3, 4]);
    for (const each of ids.values()) expect(each.size).toBe(1);
    expect(new Set(own.sent.map(({ bytes }) => bytes)).size).toBe(own.sent.length);
  });

  it('publish nothing while the engine cannot list, and everything afterwards', async () => {
    const engine = engineOf('a', 'b');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a', 'b']));
    engine.broken = new Error('Connection is closed');
    const { length } = own.sent;
    engine.remove('b');
    await own.schedules.resync('test');
    expect(own.sent).toHaveLength(length);
    expect(own.shown()).toEqual(['a', 'b']);
    engine.broken = undefined;
    engine.changed();
    await until(() => expect(own.shown()).toEqual(['a']));
  });

  it('of runs are told after the run was due, and no more when nothing moves', async () => {
    const engine = engineOf('a');
    vi.spyOn(engine.scheduler, 'list');
    const soon = Date.now() + 150;
    engine.set('a', { nextRunAt: soon });
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    engine.ran('a');
    await until(() => expect(own.brain.rows(OWNER)[0]).toMatchObject({ total_runs: 1 }));
    expect(Date.now()).toBeGreaterThan(soon);
    expect(own.snapshots).toHaveLength(2);
  });

  it('without an ack end the epoch; the next one shows them', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    own.intercept = () => 'silence';
    engine.define('b');
    await until(() => expect(own.reconnects).toHaveLength(1));
    expect(own.reconnects[0]).toBe('snapshot 2 of shop-memory was not acknowledged');
    own.intercept = undefined;
    await until(() => expect(own.shown()).toEqual(['a', 'b']));
    expect(own.brain.isAmbiguous(OWNER)).toBe(false);
    expect(own.lines).toEqual([]);
  });

  it('are not sent by a process that was not asked', async () => {
    const brain = new ScheduleStreams();
    const texts = memoryTexts();
    const engine = engineOf('a', 'b');
    const first = process({ engines: [engine], brain, texts });
    await until(() => expect(first.shown()).toEqual(['a', 'b']));
    const standby = process({ engines: [engineOf('a', 'b')], brain, texts, retryMs: 40 });
    engine.define('c');
    await until(() => expect(first.shown()).toEqual(['a', 'b', 'c']));
    expect(standby.sent).toEqual([]);
    let least = Infinity;
    const look = setInterval(() => {
      least = Math.min(least, brain.rows(OWNER).length);
    }, 1);
    first.close();
    await until(() => expect(standby.snapshots).toEqual(['1: a b (c)', '2: a b']));
    clearInterval(look);
    expect(Math.min(least, brain.rows(OWNER).length)).toBe(2);
  });
});

describe('a process that stands by', () => {
  const FAST = { lookMs: 20, renewMs: 100 };
  /** As engines of several hosts that have one broker and a home each. */
  const sharing = (kept: Map<string, string>): MemoryEngine => {
    const engine = engineOf('a');
    engine.scheduler.memory = (owner) => ({
      load: async () => kept.get(owner),
      save: async (text) => void kept.set(owner, text),
    });
    return engine;
  };

  it.each(['home', 'broker'])(
    'takes over at once when the other says goodbye: the word is in the %s',
    async (place) => {
      const brain = new ScheduleStreams();
      const kept = new Map<string, string>();
      const engine = (): MemoryEngine => (place === 'broker' ? sharing(kept) : engineOf('a'));
      const texts = place === 'home' ? { texts: memoryTexts() } : {};
      // Nobody dies of age here.
      const times = { ...FAST, renewMs: 60_000 };
      const first = process({ engines: [engine()], brain, ...texts, ...times });
      await until(() => expect(first.shown()).toEqual(['a']));
      const second = process({ engines: [engine()], brain, ...texts, ...times });
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(second.reconnects).toEqual([]);
      first.close();
      await until(() => expect(second.snapshots).toEqual(['1: a']));
      expect(second.reconnects.length).toBeLessThan(4);
    },
  );

  it('takes over soon when the other died, and not before', async () => {
    const brain = new ScheduleStreams();
    const texts = memoryTexts();
    const first = process({ engines: [engineOf('a')], brain, texts, ...FAST });
    await until(() => expect(first.shown()).toEqual(['a']));
    const second = process({ engines: [engineOf('a')], brain, texts, ...FAST, renewMs: 1000 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(second.reconnects).toEqual([]);
    first.drop();
    const died = Date.now();
    await until(() => expect(second.snapshots).toEqual(['1: a']));
    expect(Date.now() - died).toBeGreaterThan(2000);
  });

  it('asks rarer and rarer for what seems free and is not', async () => {
    const brain = new ScheduleStreams();
    const texts = memoryTexts();
    const first = process({ engines: [engineOf('a')], brain, texts: memoryTexts(), ...FAST });
    await until(() => expect(first.shown()).toEqual(['a']));
    texts.set(`lease:${OWNER}`, JSON.stringify({ holder: 'of old', beat: 1, gone: true }));
    const second = process({ engines: [engineOf('a')], brain, texts, ...FAST });
    await until(() => expect(second.reconnects.length).toBeGreaterThan(1));
    await new Promise((resolve) => setTimeout(resolve, 400));
    // One a look would be twenty.
    expect(second.reconnects.length).toBeLessThan(8);
  });
});

describe('two applications under one name', () => {
  it('are told apart in one line', async () => {
    const brain = new ScheduleStreams();
    const texts = memoryTexts();
    const first = process({ engines: [engineOf('a')], brain, texts });
    await until(() => expect(first.shown()).toEqual(['a']));
    const second = process({ engines: [engineOf('b', 'c')], brain, texts, retryMs: 30 });
    await until(() => expect(second.reconnects.length).toBeGreaterThan(2));
    expect(second.lines).toHaveLength(1);
    expect(second.lines[0]).toContain('schedule b and 1 more of memory are not shown');
    expect(second.sent).toEqual([]);
  });
});

describe('a broker', () => {
  it('remembers where the home is lost', async () => {
    const brain = new ScheduleStreams();
    const kept = new Map<string, string>();
    const withBroker = (...names: string[]): MemoryEngine => {
      const engine = engineOf(...names);
      engine.scheduler.memory = (owner) => ({
        load: async () => kept.get(owner),
        save: async (text) => void kept.set(owner, text),
      });
      return engine;
    };
    const first = process({ engines: [withBroker('a', 'b')], brain });
    await until(() => expect(first.shown()).toEqual(['a', 'b']));
    first.close();
    const second = process({ engines: [withBroker('a')], brain });
    await until(() => expect(second.shown()).toEqual(['a']));
    expect(second.snapshots).toEqual(['1: a (b)', '2: a']);
    expect(second.lines).toEqual([]);
  });
});

describe('an engine whose workers come and go', () => {
  const working = (...names: string[]): MemoryEngine & { works: boolean } => {
    const engine = Object.assign(engineOf(...names), { works: true });
    engine.scheduler.serves = () => engine.works;
    return engine;
  };

  it('shows nothing new once the last one is gone, and comes back with it', async () => {
    const engine = working('a', 'b');
    const own = process({ engines: [engine], goneMs: 30 });
    await until(() => expect(own.shown()).toEqual(['a', 'b']));
    engine.works = false;
    engine.remove('a');
    engine.remove('b');
    await own.schedules.resync('test');
    expect(own.shown()).toEqual(['a', 'b']);
    engine.works = true;
    engine.define('a');
    await until(() => expect(own.shown()).toEqual(['a']));
  });

  it('keeps rows for a while that one on its way out takes with it; what an operator deletes goes at once', async () => {
    const engine = working('a', 'b', 'c');
    const own = process({ engines: [engine], goneMs: 300 });
    await until(() => expect(own.shown()).toEqual(['a', 'b', 'c']));
    expect(await own.press(OWNER, 'delete', 'c')).toBeUndefined();
    expect(own.shown()).toEqual(['a', 'b']);
    const start = Date.now();
    engine.remove('b');
    await own.schedules.resync('test');
    expect(own.shown()).toEqual(['a', 'b']);
    await until(() => expect(own.shown()).toEqual(['a']));
    expect(Date.now() - start).toBeGreaterThanOrEqual(300);
  });

  it('does not connect anew to take over what it has no workers for', async () => {
    const brain = new ScheduleStreams();
    const first = process({ engines: [engineOf('a')], brain });
    await until(() => expect(first.shown()).toEqual(['a']));
    const producer = working();
    producer.works = false;
    const second = process({ engines: [producer], brain, retryMs: 10 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(second.reconnects).toEqual([]);
  });

  it('that can never list is told once, and not tried again at once', async () => {
    const engine = engineOf('a');
    engine.broken = new CommandError('unsupported', 'Queue is not loaded in this process');
    const own = process({ engines: [engine] });
    await until(() => expect(own.answers[0]?.error?.message).toContain('Queue is not loaded'));
    expect(own.lines).toHaveLength(1);
    expect(own.reconnects).toEqual([]);
    expect(own.sent).toEqual([]);
  });

  it('whose broker keeps no texts remembers at home', async () => {
    const engine = engineOf('a');
    const refuse = async (): Promise<never> => {
      throw new CommandError('unsupported', 'no texts here');
    };
    engine.scheduler.memory = () => ({ load: refuse, save: refuse });
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    expect(own.texts.get(`schedules:${OWNER}`)).toContain('"a"');
  });
});

describe('a refused first snapshot', () => {
  const foreign = async (brain: ScheduleStreams): Promise<void> => {
    const other = process({ engines: [engineOf('theirs')], brain });
    await until(() => expect(other.shown(OWNER)).toEqual(['theirs']));
    other.close();
  };

  it('without a memory: the next free name, once, with one line', async () => {
    const brain = new ScheduleStreams();
    await foreign(brain);
    const own = process({ engines: [engineOf('ours')], brain });
    await until(() => expect(own.shown('shop-memory-2')).toEqual(['ours']));
    expect(own.shown(OWNER)).toEqual(['theirs']);
    expect(own.lines).toHaveLength(1);
    expect(own.lines[0]).toContain('shown under shop-memory-2');
    expect(own.reconnects).toHaveLength(1);
    const { texts } = own;
    own.close();
    const next = process({ engines: [engineOf('ours')], brain, texts });
    await until(() => expect(next.answers).toHaveLength(1));
    expect(next.lines).toEqual([]);
    expect(next.reconnects).toEqual([]);
  });

  it('with a memory: once more, then the next free name', async () => {
    const brain = new ScheduleStreams();
    await foreign(brain);
    const texts = memoryTexts();
    texts.set(
      `schedules:${OWNER}`,
      JSON.stringify([{ name: 'x', task_name: 'x', kind: 'cron', expression: '1 * * * *' }]),
    );
    const own = process({ engines: [engineOf('ours')], brain, texts });
    await until(() => expect(own.shown('shop-memory-2')).toEqual(['ours']));
    expect(own.lines).toHaveLength(1);
    expect(own.reconnects).toHaveLength(2);
  });

  it('never becomes a loop', async () => {
    const own = process({ engines: [engineOf('ours')], repeatMs: 1 });
    own.intercept = (events) => ({ received: events.length, accepted: 0, rejected: events.length });
    await until(() => expect(own.lines.some((line) => line.includes('error'))).toBe(true));
    const { length } = own.reconnects;
    // First under each name; those after -2 have no memory of their own either.
    expect(length).toBeLessThanOrEqual(9);
    expect(own.lines).toHaveLength(9);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(own.reconnects).toHaveLength(length);
  });

  it('keeps names within 40 characters', async () => {
    const brain = new ScheduleStreams();
    const service = 'a-service-with-a-rather-long-name';
    const options = { brain, service };
    const other = process({ engines: [engineOf('theirs')], ...options });
    await until(() => expect(other.shown()).toEqual(['theirs']));
    other.close();
    const own = process({ engines: [engineOf('ours')], ...options });
    await until(() => expect(own.shown(`${service}-memo-2`)).toEqual(['ours']));
  });
});

describe('operators', () => {
  it('create, update, disable, enable, trigger and delete, and a brain believes it', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    const definition = {
      name: 'b',
      task_name: 'report',
      kind: 'interval',
      expression: '5',
      args: [1],
      is_enabled: true,
    };
    expect(await own.press(OWNER, 'create', null, definition)).toBeUndefined();
    expect(await own.press(OWNER, 'update', 'b', { expression: '7', kwargs: { deep: [1.5] } })).toBeUndefined();
    expect(engine.schedules.get('b')).toMatchObject({ expression: '7', kwargs: { deep: [1.5] } });
    expect(await own.press(OWNER, 'update', 'b', { is_enabled: false })).toBeUndefined();
    expect(engine.schedules.get('b')?.enabled).toBe(false);
    expect(await own.press(OWNER, 'update', 'b', { is_enabled: true })).toBeUndefined();
    expect(await own.press(OWNER, 'trigger', 'b')).toBeUndefined();
    expect(engine.runs).toEqual(['b']);
    expect(await own.press(OWNER, 'delete', 'b')).toBeUndefined();
    expect(own.shown()).toEqual(['a']);
  });

  it('are refused harmlessly', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    const twice = { name: 'a', task_name: 'report', kind: 'interval', expression: '5' };
    expect(await own.press(OWNER, 'create', null, twice)).toBe('there is a schedule a already');
    expect(await own.press(OWNER, 'update', 'a', { kind: 'solar' })).toContain('to be one of cron, interval, clocked');
    engine.set('a', { expression: '61' });
    expect(await own.press(OWNER, 'update', 'a', { expression: '7' })).toContain('changed since it was shown');
    await own.schedules.resync('test');
    expect(await own.press(OWNER, 'update', 'a', { expression: '7' })).toBeUndefined();
  });

  it('of an earlier connection are refused', async () => {
    const own = process({ engines: [engineOf('a')] });
    await until(() => expect(own.shown()).toEqual(['a']));
    const { action, parameters } = own.brain.command(OWNER, 'trigger', 'a');
    own.drop();
    own.connect();
    await until(() => expect(own.brain.sequence(OWNER)).toBe(1));
    await expect(own.command(action, parameters)).rejects.toMatchObject({ code: 'conflict' });
  });

  it('reach a schedule whose name is not shown', async () => {
    const engine = engineOf('mail ada@example.com', 'mail bob@example.com');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toHaveLength(2));
    for (const name of own.shown()) {
      expect(name).not.toContain('@');
      expect(await own.press(OWNER, 'update', name, { is_enabled: false })).toBeUndefined();
    }
    expect([...engine.schedules.values()].map(({ enabled }) => enabled)).toEqual([false, false]);
  });

  it('of brains before 1.13 enable and disable by digest', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    // The next run moved since the last snapshot: the row is still the one the brain knows.
    engine.set('a', { nextRunAt: Date.now() + 5000 });
    expect(await own.press(OWNER, 'control', 'a', { is_enabled: false, next_run_at: null })).toBeUndefined();
    expect(engine.schedules.get('a')?.enabled).toBe(false);
    expect(await own.press(OWNER, 'control', 'a', { is_enabled: true })).toBeUndefined();
    expect(own.brain.sequence(OWNER)).toBe(3);
    engine.define('b');
    await until(() => expect(own.shown()).toEqual(['a', 'b']));
    expect(own.brain.isAmbiguous(OWNER)).toBe(false);
  });

  it('do not get a control through that was meant for another row or another number', async () => {
    const engine = engineOf('a');
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    const { action, parameters } = own.brain.command(OWNER, 'control', 'a', { is_enabled: false });
    const other = rowDigest(readJson('{"a":1}') as object);
    const desired = { ...(parameters.desired_projection as object), expression: 'other' };
    const wrong = { ...parameters, expected_projection_digest: other, desired_projection: desired };
    await expect(own.command(action, wrong)).rejects.toMatchObject({ code: 'conflict' });
    await expect(own.command(action, { ...parameters, expected_accepted_sequence: 7 })).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(engine.schedules.get('a')?.enabled).toBe(true);
  });

  it('ask for everything anew', async () => {
    const own = process({ engines: [engineOf('a'), new MemoryEngine('other')] });
    await until(() => expect(own.answers).toHaveLength(2));
    expect(await own.command('schedule.resync', {})).toEqual({ schedulers_drained: 2 });
    expect(own.brain.sequence(OWNER)).toBe(2);
  });

  it('name a scheduler that is not here', async () => {
    const own = process({ engines: [engineOf('a')] });
    await expect(own.command('schedule.external.mutate', { scheduler: 'x-y' })).rejects.toMatchObject({
      code: 'not_found',
    });
  });
});

describe('rows', () => {
  it('that no brain takes are left out, with one line for all; the others are shown', async () => {
    const engine = engineOf('a');
    engine.define('bad', { priority: 'urgent' as never });
    engine.define('long', { timezone: 'x'.repeat(65) });
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    await own.schedules.resync('test');
    expect(own.lines).toHaveLength(1);
    expect(own.lines[0]).toContain('(nor are 1 others)');
  });

  it('carry no secret', async () => {
    const engine = engineOf('a');
    engine.define('a', { args: ['ada@example.com'], kwargs: { password: 'hunter2', note: 'x'.repeat(20_000) } });
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toEqual(['a']));
    const text = own.sent.map(({ bytes }) => bytes).join();
    expect(text).not.toMatch(/hunter2|ada@/);
    expect(JSON.stringify([...memoryTexts().all])).not.toMatch(/hunter2|ada@/);
  });

  it('of a large inventory come in several frames', async () => {
    const engine = engineOf(...Array.from({ length: 400 }, (_, i) => `s${i}`));
    for (const name of engine.schedules.keys()) engine.define(name, { args: ['x'.repeat(4000)] });
    const own = process({ engines: [engine] });
    await until(() => expect(own.shown()).toHaveLength(400));
    expect(own.sent.length).toBeGreaterThan(2);
    for (const { bytes } of own.sent) expect(bytes.length).toBeLessThan(720_000);
  });
});

describe('brain versions', () => {
  it.each(['1.6.9', '1.7.1'])('%s is told plainly', async (version) => {
    const engine = engineOf('a');
    const own = process({ engines: [engine], brain: new ScheduleStreams(version), version });
    await until(() => expect(own.shown(OWNER)).toEqual(['a']));
    expect(own.sent[0]).toMatchObject({ kind: 'schedule.snapshot', data: { scheduler: OWNER, reason: 'boot' } });
    engine.remove('a');
    engine.define('b');
    await until(() => expect(own.shown(OWNER)).toEqual(['b']));
    expect(await own.command('schedule.disable', { schedule_id: 'b', schedule_name: 'b' })).toEqual({ schedule: 'b' });
    expect(own.brain.rows(OWNER)[0]).toMatchObject({ is_enabled: false });
    await own.command('schedule.trigger_now', { schedule_id: 'b', schedule_name: 'b' });
    expect(engine.runs).toEqual(['b']);
    engine.broken = new Error('away');
    await own.schedules.resync('test');
    expect(own.shown(OWNER)).toEqual(['b']);
  });

  it.each(['1.8.0', '1.12.0'])('%s is told nothing, in one line', async (version) => {
    const own = process({ engines: [engineOf('a')], brain: new ScheduleStreams(version), version });
    expect(own.schedules.isWanted).toBe(false);
    await until(() => expect(own.answers).toHaveLength(1));
    expect(own.answers[0]?.error?.message).toContain(`no schedules are mirrored on brain ${version}`);
    own.drop();
    own.connect();
    expect(own.lines).toHaveLength(1);
    expect(own.lines[0]).toContain(`schedules are not mirrored on brain ${version}`);
    expect(own.sent).toEqual([]);
    own.schedules.connected('1.13.0');
    expect(own.schedules.isWanted).toBe(true);
  });
});
