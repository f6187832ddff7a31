import { expect, test } from 'vitest';
import { stubBrain } from '../../../src/testing/index.js';
import { append, rig } from './support.js';

test('says hello, sends events, confirms them and says goodbye', async () => {
  await using brain = await stubBrain();
  await using on = rig(brain);
  const { link, journal } = on;
  append(journal, 1000);
  link.start();
  await brain.until(() => brain.events.length === 1000);
  expect(brain.hellos[0]).toMatchObject({ engines: ['bullmq'], workerId: 'node-test-0' });
  expect(brain.events[0]).toMatchObject({ eventType: 'task_sent', taskId: 'mail:0', engine: 'bullmq' });
  await brain.until(() => brain.heartbeats.length > 0);
  append(journal, 10, 'last');
  await link.stop();
  expect(journal.confirmed).toBe(1010);
  expect(brain.events.length).toBe(1010);
  expect(link.state).toBe('stopped');
  await brain.until(() => brain.connections === 0);
  expect(on.lines).toEqual([]);
});

test('brings commands and carries results', async () => {
  await using brain = await stubBrain();
  await using on = rig(brain, {
    onCommand: (command, reply) => {
      reply.ack();
      reply.result({ status: 'success', result: { got: command.parameters }, error: null });
    },
  });
  on.link.start();
  const outcome = await brain.command({ action: 'cancel_task', parameters: { task_id: 'a', eta: 1.5 } });
  expect(outcome).toEqual({
    status: 'success',
    result: { got: { task_id: 'a', eta: 1.5 } },
    error: null,
    acknowledged: true,
  });
});
