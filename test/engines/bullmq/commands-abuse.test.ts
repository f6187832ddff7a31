import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { purgeToken } from '../../../src/protocol/index.js';
import { type StubBrain, type StubCommandOutcome, stubBrain } from '../../../src/testing/index.js';
import { type Broker, openBroker } from '../../interop/fixtures/broker.js';
import { type Child, runChild } from '../../support/child.js';
import { type Redis, startRedis } from '../../support/redis.js';

const PROGRAM = fileURLToPath(new URL('../../interop/fixtures/operated.mjs', import.meta.url));
const MEBIBYTE = 'x'.repeat(1 << 20);
const EMOJI = '\u{1f600}'.repeat(200);
/** An own key of that name, as only JSON has it. */
const polluting = JSON.parse('{"__proto__":{"polluted":1,"queue":"parked","force":true,"task_ids":["parked:1"]}}');

type Parameters = { readonly [key: string]: unknown };
type Case = readonly [what: string, action: string, parameters: Parameters, error: RegExp];

const worker = { worker_name: 'desk:mail' };

const REFUSED: readonly Case[] = [
  ['no token', 'purge_queue', { queue: 'parked' }, /observed_depth/],
  ['a token of nonsense', 'purge_queue', { queue: 'parked', confirm_token: '0' }, /observed_depth/],
  ['another token', 'purge_queue', { queue: 'parked', confirm_token: 'f'.repeat(64) }, /another depth/],
  ['force that is a text', 'purge_queue', { queue: 'parked', force: 'true' }, /observed_depth/],
  ['force that is a number', 'purge_queue', { queue: 'parked', force: 1 }, /observed_depth/],
  ['a path for a queue', 'purge_queue', { queue: '../../parked', force: true }, /no queue|knows queue/],
  ['a pattern for a queue', 'purge_queue', { queue: '*', force: true }, /no queue|knows queue/],
  ['the key of a queue', 'purge_queue', { queue: 'bull:parked', force: true }, /no queue|knows queue/],
  ['NUL in a queue', 'purge_queue', { queue: 'parked\u0000', force: true }, /control characters/],
  ['a line break in a queue', 'purge_queue', { queue: 'parked\r\nFLUSHALL\r\n', force: true }, /control characters/],
  ['a queue of 200 emoji', 'purge_queue', { queue: EMOJI, force: true }, /no queue|knows queue/],
  ['a queue for every object', 'purge_queue', { queue: '__proto__', force: true }, /no queue|knows queue/],
  ['a queue in the prototype', 'purge_queue', polluting, /no queue|no engine/],
  ['a path for a task', 'retry_task', { task_id: '../../parked:1' }, /no job|not a task/],
  ['NUL in a task', 'retry_task', { task_id: 'parked:1\u0000' }, /control characters/],
  ['an encoded NUL in a task', 'retry_task', { task_id: 'parked:1%00' }, /no job|not a task/],
  ['a task of 200 emoji', 'retry_task', { task_id: `parked:${EMOJI}` }, /no job/],
  ['an id with leading zeros', 'retry_task', { task_id: 'mail:01' }, /no job 01/],
  ['an id in another notation', 'requeue_dead_letter', { task_id: 'mail:1e0' }, /no job 1e0/],
  ['an id with a sign', 'requeue_dead_letter', { task_id: 'mail:+1' }, /no job \+1/],
  ['an id with a fraction', 'retry_task', { task_id: 'mail:1.0' }, /no job 1\.0/],
  ['an id in hexadecimals', 'retry_task', { task_id: 'mail:0x1' }, /no job 0x1/],
  ['an id with a space', 'retry_task', { task_id: 'mail: 1' }, /no job {2}1/],
  ['a number for an id', 'retry_task', { task_id: 1 }, /`task_id`/],
  ['a list for an id', 'cancel_task', { task_id: ['mail:1'] }, /`task_id`/],
  ['the key of a set', 'retry_task', { task_id: 'mail:failed' }, /no job failed|BullMQ refused/],
  ['the key of the settings', 'requeue_dead_letter', { task_id: 'mail:meta' }, /no job|not a dead letter|refused/],
  ['a job of every object', 'retry_task', { task_id: 'mail:__proto__' }, /no job __proto__/],
  ['a megabyte of arguments', 'submit_task', { task_name: 'send', queue: 'parked', args: [MEBIBYTE] }, /larger than/],
  ['a megabyte of a name', 'submit_task', { task_name: MEBIBYTE, queue: 'parked' }, /larger than/],
  ['a megabyte of an override', 'retry_task', { task_id: 'mail:1', override_kwargs: { MEBIBYTE } }, /larger than/],
  ['a text for arguments', 'submit_task', { task_name: 'send', queue: 'parked', args: 'x' }, /`args`/],
  ['a list for named arguments', 'submit_task', { task_name: 'send', queue: 'parked', kwargs: [1] }, /`kwargs`/],
  ['an unknown queue', 'submit_task', { task_name: 'send', queue: 'elsewhere', args: [] }, /no queue elsewhere/],
  ['no name', 'submit_task', { queue: 'parked', args: [] }, /has no name/],
  ['a priority of nonsense', 'submit_task', { task_name: 'send', queue: 'parked', priority: 'urgent' }, /`priority`/],
  ['a time that is a text', 'submit_task', { task_name: 'send', queue: 'parked', eta: 'tomorrow' }, /`eta`/],
  ['a time without end', 'submit_task', { task_name: 'send', queue: 'parked', eta: 1e300 }, /`eta`/],
  ['an override of a text', 'retry_task', { task_id: 'mail:1', override_args: 'rm -rf /' }, /`override_args`/],
  ['a filter of a text', 'bulk_retry', { filter: 'all' }, /`filter`/],
  ['no ids', 'bulk_retry', { filter: { state: 'failure' } }, /task_ids/],
  ['ids of a text', 'bulk_retry', { filter: { task_ids: 'mail:1' } }, /task_ids/],
  ['ids in the prototype', 'bulk_retry', { filter: polluting }, /task_ids/],
  ['ids that are numbers', 'bulk_retry', { filter: { task_ids: ['mail:1', 1] } }, /task_ids/],
  ['ids of control characters', 'bulk_retry', { filter: { task_ids: ['mail:1', '\u0007'] } }, /task_ids/],
  ['less than one', 'bulk_retry', { filter: { task_ids: ['mail:1'] }, max: -1 }, /`max`/],
  ['a page of nonsense', 'dlq.list', { queue: 'mail', cursor: '../../etc' }, /`cursor`/],
  ['a page below nothing', 'dlq.list', { queue: 'mail', cursor: '-5' }, /`cursor`/],
  ['a limit of nonsense', 'dlq.list', { queue: 'mail', limit: 1.5 }, /`limit`/],
  ['dead letters of a path', 'dlq.list', { queue: '../mail' }, /no queue/],
  ['a negative delta', 'pool_grow', { ...worker, delta: -5 }, /`delta`/],
  ['a huge delta', 'pool_grow', { ...worker, delta: 1e12 }, /`delta`/],
  ['a fraction of a delta', 'pool_grow', { ...worker, delta: 0.5 }, /`delta`/],
  ['a delta that is a text', 'pool_shrink', { ...worker, delta: '3' }, /`delta`/],
  ['no delta', 'pool_shrink', worker, /delta/],
  ['more slots than there are', 'pool_shrink', { ...worker, delta: 1000 }, /less than one slot/],
  ['a worker of every object', 'pool_grow', { worker_name: 'constructor', delta: 1 }, /constructor/],
  ['a worker that is a path', 'restart_worker', { worker_name: '../desk:mail' }, /another process/],
  ['no worker', 'restart_worker', {}, /worker/],
  ['another queue for a worker', 'add_consumer', { ...worker, queue: 'parked' }, /serves mail only/],
  ['a rate of words', 'rate_limit', { task_name: 'mail', rate: 'fast' }, /`rate`/],
  ['a negative rate', 'rate_limit', { task_name: 'mail', rate: '-1/s' }, /`rate`/],
  ['a rate of other digits', 'rate_limit', { task_name: 'mail', rate: '\u0663/s' }, /`rate`/],
  ['a rate by the day', 'rate_limit', { task_name: 'mail', rate: '5/d' }, /`rate`/],
  ['a rate without end', 'rate_limit', { task_name: 'mail', rate: '99999999999999999999/s' }, /`rate`/],
  ['a rate that is a number', 'rate_limit', { task_name: 'mail', rate: 5 }, /`rate`/],
  ['a rate for nobody', 'rate_limit', { task_name: 'nobody', rate: '5/s' }, /which queue/],
  ['an action of every object', 'constructor', {}, /Z4J_ALLOW_COMMANDS/],
  ['an action that is a path', '../restart_worker', worker, /Z4J_ALLOW_COMMANDS/],
  ['an engine of every object', 'retry_task', { engine: '__proto__', task_id: 'mail:1' }, /no engine __proto__/],
];

/** What there is nothing to do for, or only to read, is no failure. */
const HARMLESS: readonly Case[] = [
  ['a job that nobody has', 'cancel_task', { task_id: 'mail:007' }, /does not have it/],
  ['a queue that nobody has', 'cancel_task', { task_id: 'elsewhere:1' }, /does not have it/],
  ['a state that nobody knows', 'reconcile_task', { task_id: 'mail:1e0' }, /"engine_state":"unknown"/],
  ['a page behind the last', 'dlq.list', { queue: 'mail', cursor: '999999999' }, /"entries":\[\]/],
  ['a limit beyond the largest', 'dlq.list', { queue: 'mail', limit: 1e9 }, /"total":1/],
  [
    'jobs that nobody has',
    'bulk_retry',
    { filter: { task_ids: ['mail:01', '../x:1', 'x'] } },
    /"retried":0,"skipped":3/,
  ],
];

describe('abuse of commands', () => {
  let redis: Redis;
  let broker: Broker;
  let brain: StubBrain;
  let child: Child;
  let before: { readonly [key: string]: string };

  const act = (action: string, parameters: Parameters): Promise<StubCommandOutcome> =>
    brain.command({ action, parameters: { engine: 'bullmq', ...parameters } });

  /** Every key with its value, except what workers do by themselves and who shows the schedules. */
  async function everything(): Promise<{ [key: string]: string }> {
    const moves = /:stalled-check$|:mail:(events|marker)$|:z4j:shown$/;
    const keys = (await broker.client.keys('*')).filter((key) => !moves.test(key));
    const values = await Promise.all(
      keys.map(async (key) => (await broker.client.dumpBuffer(key))?.toString('base64')),
    );
    return Object.fromEntries(keys.map((key, at) => [key, values[at] ?? '']));
  }

  beforeAll(async () => {
    redis = await startRedis();
    broker = await openBroker('bullmq-6.7.0', redis);
    brain = await stubBrain();
    child = await runChild({
      target: broker.folder,
      program: PROGRAM,
      env: {
        ...brain.env,
        Z4J_AGENT_NAME: 'desk',
        Z4J_SERVICE_NAME: 'desk',
        REDIS_URL: redis.url,
        QUEUES: 'mail',
        IDLE_QUEUES: 'parked',
      },
    });
    await child.printed('ready', 30_000);
    await broker.added('mail', 'failed', 'broken');
    await broker.added('parked', 'waiting', 'send');
    await brain.until(() => brain.workers().length === 1 && brain.tasks().length === 1, 20_000);
    before = await everything();
    expect(Object.keys(before)).toContain('bull:mail:1');
  });

  afterAll(async () => {
    await broker?.close();
    await child?.[Symbol.asyncDispose]();
    await brain?.close();
    await redis?.stop();
  });

  test.each(REFUSED)('%s: %s fails and says why', async (_, action, parameters, error) => {
    const outcome = await act(action, parameters);
    expect(outcome).toMatchObject({ status: 'failed', acknowledged: true });
    expect(outcome.error).toMatch(error);
    expect(outcome.error?.length).toBeLessThanOrEqual(1000);
  });

  test('the token of a depth that is no more fails', async () => {
    const token = purgeToken(brain.secret, 'parked', 2);
    const outcome = await act('purge_queue', { queue: 'parked', confirm_token: token });
    expect(outcome).toMatchObject({ status: 'failed', error: expect.stringMatching(/another depth than the 1 jobs/) });
  });

  test.each(HARMLESS)('%s: %s does nothing', async (_, action, parameters, result) => {
    const outcome = await act(action, parameters);
    expect(outcome).toMatchObject({ status: 'success', error: null });
    expect(JSON.stringify(outcome.result)).toMatch(result);
  });

  test('the broker is as it was, and the host works on', async () => {
    expect(await everything()).toEqual(before);
    expect(child.stderr()).toMatch(/^(.*(purge_queue|restart_worker).*\n)+$/);
    expect(child.process.exitCode).toBeNull();
    expect(brain.counts.connections).toBe(1);
    const named = JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
    const submitted = await act('submit_task', { task_name: 'send', queue: 'mail', args: [], kwargs: named });
    const id = (submitted.result as { task_id: string }).task_id.slice('mail:'.length);
    await broker.reaches('mail', id, 'completed');
    const job = await broker.queue('mail').getJob(id);
    expect(job?.returnvalue).toMatchObject({ pid: child.pid, polluted: false });
    expect(Object.keys(job?.data as object)).toEqual(['__proto__', 'constructor']);
  });
});
