import { describe, expect, test } from 'vitest';
import type { EventKind } from '../../../src/engine.js';
import { taskHash } from '../../../src/task-ids.js';
import { Simulation, type Told, WHOLE, work } from './simulation.js';

const worst = (told: readonly Told[]): number => told.reduce((most, { late }) => Math.max(most, late), 0);

const FAILED = [...WHOLE.slice(0, 3), 'task.failed'];

describe('250 tasks/s, four events each, and a brain that takes 100 events/s', () => {
  const failing = {
    end: (number: number): EventKind => (number % 50 === 7 ? 'task.failed' : 'task.succeeded'),
  };

  test('it hears of all failures, of a part of the successes, soon and in order; the counts add up', () => {
    const sim = new Simulation(100);
    const host = work(sim, 250, failing);
    sim.run(30, host);
    const before = sim.told.length;
    sim.run(30, host);
    const since = sim.told.slice(before);
    expect(worst(since)).toBeLessThan(5);
    // The brain is kept busy meanwhile.
    expect(since.length).toBeGreaterThan(2500);
    sim.run(15);
    expect(sim.outflow.empty).toBe(true);
    expect(sim.told.length + sim.outflow.leftOut).toBe(sim.captured);
    const { tasks } = sim;
    for (let number = 7; number < 7500; number += 50) expect(tasks.get(`mail:${number}`)).toEqual(FAILED);
    const successes = [...tasks.values()].filter((kinds) => kinds.includes('task.succeeded'));
    expect(successes.length).toBeGreaterThan(400);
    for (const kinds of successes) expect(WHOLE.filter((kind) => kinds.includes(kind))).toEqual(kinds);
    // No task stays open for ever, but those that ran when the host went.
    const open = [...tasks.values()].filter((kinds) => kinds.includes('task.received') && kinds.length < 3);
    expect(open.length).toBeLessThan(5);
  });

  test('one line when it begins, with the remedy, and one when it is over; then everything is sent again', () => {
    const sim = new Simulation(100);
    sim.run(40, work(sim, 250, failing));
    expect(sim.lines).toEqual([expect.stringMatching(/^z4j: warn: .*Z4J_DELIVERY=complete/)]);
    sim.run(30);
    expect(sim.lines.slice(1)).toEqual([expect.stringMatching(/^z4j: info: the brain keeps up again/)]);
    expect(sim.outflow.share).toBe(1);
    const { leftOut } = sim.outflow;
    sim.run(20, work(sim, 10));
    sim.run(5);
    expect(sim.outflow.leftOut).toBe(leftOut);
    expect(sim.outflow.empty).toBe(true);
  });

  test('complete: nothing is left out', () => {
    const sim = new Simulation(100, { complete: true });
    sim.run(20, work(sim, 250, failing));
    sim.run(220);
    expect(sim.outflow.empty).toBe(true);
    expect(sim.told.length).toBe(sim.captured);
    expect(sim.outflow.leftOut).toBe(0);
  });

  test('a connection that ends in the middle loses nothing that was to be sent', () => {
    const sim = new Simulation(100);
    const host = work(sim, 250, failing);
    sim.run(25, host);
    for (let times = 0; times < 5; times++) {
      sim.disconnect();
      sim.run(0.5);
      sim.connected = true;
      sim.run(5);
    }
    sim.run(60);
    expect(sim.outflow.empty).toBe(true);
    const { tasks } = sim;
    for (let number = 7; number < 6250; number += 50) expect(tasks.get(`mail:${number}`)).toEqual(FAILED);
  });
});

test('a brain that was away is told everything', () => {
  const sim = new Simulation(1000);
  const host = work(sim, 60);
  sim.run(5, host);
  sim.disconnect();
  sim.run(300, host);
  sim.connected = true;
  sim.run(120, host);
  sim.run(10);
  expect(sim.outflow.empty).toBe(true);
  expect(sim.outflow.leftOut).toBe(0);
  expect(sim.lines).toEqual([]);
});

test('a brain that was away while pressure was high is told everything, when less is made since', () => {
  const sim = new Simulation(200);
  sim.run(30, work(sim, 250));
  expect(sim.outflow.leftOut).toBeGreaterThan(0);
  sim.disconnect();
  const captured = sim.captured;
  const quiet = work(sim, 20, { name: () => 'quiet' });
  sim.run(600, quiet);
  const { leftOut } = sim.outflow;
  sim.connected = true;
  sim.run(500, quiet);
  expect(sim.captured - captured).toBeGreaterThan(40_000);
  sim.run(1);
  expect(sim.outflow.empty).toBe(true);
  expect(sim.outflow.leftOut).toBe(leftOut);
});

test('a burst is no reason to leave anything out', () => {
  const sim = new Simulation(100);
  sim.run(2, work(sim, 1000));
  sim.run(100);
  expect(sim.outflow.empty).toBe(true);
  expect(sim.outflow.leftOut).toBe(0);
});

test('retried, revoked and slow tasks, and the first of a name, are sent', () => {
  const sim = new Simulation(100);
  const host = work(sim, 250, {
    ms: (number) => (number % 200 === 3 ? 5000 : 5 + (number % 3)),
    name: (number) => (number % 1000 === 11 ? `rare-${number}` : 'send'),
    end: (number) => (number % 400 === 5 ? 'task.retried' : number % 400 === 9 ? 'task.revoked' : 'task.succeeded'),
  });
  sim.run(30, host);
  const from = sim.captured / 4;
  sim.run(20, host);
  const until = sim.captured / 4;
  sim.run(30);
  const { tasks } = sim;
  for (let number = Math.ceil(from); number < until - 10; number++) {
    const kinds = tasks.get(`mail:${number}`);
    if (number % 200 === 3 || number % 1000 === 11) expect(kinds).toEqual(WHOLE);
    if (number % 400 === 5) expect(kinds).toEqual([...WHOLE.slice(0, 3), 'task.retried']);
    if (number % 400 === 9) expect(kinds).toEqual([...WHOLE.slice(0, 3), 'task.revoked']);
  }
});

test('a task an operator acts on is sent', () => {
  const sim = new Simulation(100);
  const host = work(sim, 250);
  sim.run(30, host);
  const until = Math.round(sim.captured / 4) + 500;
  for (let number = until - 100; number < until; number++) sim.watch.touched(taskHash('bullmq', `mail:${number}`));
  sim.run(30, host);
  const { tasks } = sim;
  for (let number = until - 100; number < until; number++) expect(tasks.get(`mail:${number}`)).toEqual(WHOLE);
});

test('a task whose beginning was told is told to its end', () => {
  const sim = new Simulation(100);
  const host = work(sim, 250);
  sim.run(30, host);
  let begun = 0;
  let ended = 0;
  sim.run(60, (at) => {
    host(at);
    // Each takes twenty seconds.
    if (at < 30 && begun < at * 2) {
      sim.tell('task.received', `long:${begun}`);
      sim.tell('task.started', `long:${begun++}`);
    }
    if (at > 20 && ended < Math.min(begun, (at - 20) * 2)) sim.tell('task.succeeded', `long:${ended++}`);
  });
  sim.run(20);
  expect(ended).toBe(60);
  const { tasks } = sim;
  for (let number = 0; number < ended; number++) {
    expect(tasks.get(`long:${number}`)).toEqual(['task.received', 'task.started', 'task.succeeded']);
  }
});

test('a process that only enqueues more than a brain takes stays fresh, too', () => {
  const sim = new Simulation(100);
  let number = 0;
  const enqueue = (): void => {
    for (let i = 0; i < 5; i++, number++) {
      sim.tell('task.sent', `mail:${number}`);
      sim.tell('task.received', `mail:${number}`);
    }
  };
  sim.run(40, enqueue);
  const before = sim.told.length;
  sim.run(20, enqueue);
  expect(worst(sim.told.slice(before))).toBeLessThan(6);
  expect(new Set(sim.told.slice(before).map(({ kind }) => kind))).toEqual(new Set(['task.received']));
});

describe('a fixed share', () => {
  test('of successes is sent, whole, whatever the brain can take; all else is sent, too', () => {
    const sim = new Simulation(100_000, { share: 0.2 });
    const host = work(sim, 250, { end: (number) => (number % 10 === 0 ? 'task.failed' : 'task.succeeded') });
    sim.run(20, host);
    sim.run(5);
    expect(sim.outflow.empty).toBe(true);
    expect(worst(sim.told)).toBeLessThan(3);
    const { tasks } = sim;
    const successes = [...tasks.values()].filter((kinds) => kinds.includes('task.succeeded'));
    expect(successes.length / 4500).toBeGreaterThan(0.17);
    expect(successes.length / 4500).toBeLessThan(0.27);
    for (const kinds of successes) expect(kinds).toEqual(WHOLE);
    for (let number = 0; number < 5000; number += 10) expect(tasks.get(`mail:${number}`)).toEqual(FAILED);
    expect(sim.lines).toEqual([]);
  });

  test('is waited for no longer than a hurry allows', () => {
    const sim = new Simulation(100_000, { share: 0 });
    sim.tell('task.received', 'a');
    sim.run(1);
    expect(sim.told).toEqual([]);
    sim.outflow.hurry();
    sim.run(0.1);
    expect(sim.told.length).toBe(1);
  });
});
