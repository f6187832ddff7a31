import { expect, test } from 'vitest';
import { stubBrain } from '../../../src/testing/index.js';
import { append, eventText, rig } from './support.js';

const quick = { poll: 1000, heartbeat: 200 };

test('uploads within the body limit of the brain, without asking it', async () => {
  await using brain = await stubBrain();
  await using on = rig(brain, { transport: 'longpoll', times: quick });
  append(on.journal, 120);
  on.link.start();
  await brain.until(() => brain.events.length === 120, 15_000);
  expect(on.link.session?.transport).toBe('longpoll');
  expect(brain.events.map((event) => event.taskId)).toEqual(Array.from({ length: 120 }, (_, i) => `mail:${i}`));
  // Growing is tried once, then never again.
  expect(brain.refusals.filter((line) => line.startsWith('HTTP 413'))).toHaveLength(1);
  await on.link.flush(2000);
  expect(on.journal.confirmed).toBe(120);
  await brain.until(() => brain.heartbeats.length > 1);
});

test('halves below the usual limit and gives up only the record that is too large alone', async () => {
  await using brain = await stubBrain({ maxBodyBytes: 3000 });
  await using on = rig(brain, { transport: 'longpoll', times: quick });
  append(on.journal, 10, 'a');
  on.journal.append(eventText('large', 'task.sent', `"args":["${'x'.repeat(4000)}"],`), { kind: 0, task: 0 });
  append(on.journal, 10, 'b');
  on.link.start();
  await brain.until(() => brain.events.length === 20, 15_000);
  await on.link.flush(2000);
  expect(on.journal.confirmed).toBe(21);
  expect(on.link.stats.givenUp).toBe(1);
  expect(on.lines.join()).toContain('an event was given up');
});

test('brings commands and carries results', async () => {
  await using brain = await stubBrain();
  await using on = rig(brain, {
    transport: 'longpoll',
    times: quick,
    onCommand: (command, reply) => {
      reply.ack();
      reply.result({ status: 'success', result: command.action, error: null });
    },
  });
  on.link.start();
  const cancel = await brain.command({ action: 'cancel_task' });
  expect(cancel).toMatchObject({ status: 'success', result: 'cancel_task', acknowledged: true });
  const retry = await brain.command({ action: 'bulk_retry', target: { type: 'bulk', id: null, engine: 'bullmq' } });
  expect(retry).toMatchObject({ status: 'success', result: 'bulk_retry' });
});

test('a command that is signed with another secret tells what is wrong', async () => {
  // It does not look at what we send, so that the command comes first.
  await using brain = await stubBrain({ acceptFrames: 0 });
  const { url, token } = brain;
  await using on = rig({ url, token, secret: Buffer.alloc(32) }, { transport: 'longpoll', times: quick });
  const command = brain.command({ action: 'cancel_task' }, { timeoutMs: 1000 });
  on.link.start();
  await expect.poll(() => on.link.stats.authFailures, { timeout: 5000 }).toBeGreaterThan(0);
  expect(on.lines).toEqual([expect.stringContaining('Z4J_HMAC_SECRET')]);
  await command;
});

test('starts a new session after 409 and keeps what was not taken', async () => {
  await using brain = await stubBrain({ httpStatus: 409 });
  await using on = rig(brain, { transport: 'longpoll', times: quick });
  append(on.journal, 5);
  on.link.start();
  await brain.until(() => brain.refusals.length > 1);
  brain.misbehave({ httpStatus: undefined });
  await brain.until(() => brain.events.length === 5);
});

test('waits as long as 429 says', async () => {
  await using brain = await stubBrain();
  await using on = rig(brain, { transport: 'longpoll', times: quick });
  on.link.start();
  await brain.until(() => brain.heartbeats.length > 0);
  brain.misbehave({ httpStatus: 429, retryAfter: 1 });
  append(on.journal, 5);
  await brain.until(() => brain.refusals.length > 0);
  brain.misbehave({ httpStatus: undefined });
  await brain.until(() => brain.events.length === 5);
  expect(brain.connections).toBe(1);
});

test('sends again what an upload did not take', async () => {
  await using brain = await stubBrain({ acceptFrames: 0 });
  await using on = rig(brain, { transport: 'longpoll', times: quick });
  append(on.journal, 5);
  on.link.start();
  await expect(brain.until(() => brain.events.length > 0, 500)).rejects.toThrow('Expected the condition');
  expect(on.journal.confirmed).toBe(0);
  brain.misbehave({ acceptFrames: undefined });
  await brain.until(() => brain.events.length === 5);
});

test('auto: falls back where upgrades are refused and goes back when they pass', async () => {
  await using brain = await stubBrain({ refuseUpgrade: 403 });
  await using on = rig(brain, { times: { ...quick, upgradeRetry: 1000 } });
  append(on.journal, 5);
  on.link.start();
  await brain.until(() => brain.events.length === 5);
  expect(on.link.session?.transport).toBe('longpoll');
  brain.misbehave({ refuseUpgrade: undefined });
  await brain.until(() => brain.hellos.length === 1, 5000);
  append(on.journal, 5, 'later');
  await brain.until(() => brain.events.length === 10);
  expect(on.link.session?.transport).toBe('ws');
  expect(on.lines.filter((line) => line.includes('warn'))).toHaveLength(1);
});
