import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';
import { runChild } from '../../support/child.js';
import { type Redis, startRedis } from '../../support/redis.js';
import { target } from '../../support/targets.mjs';

const PROGRAM = fileURLToPath(new URL('./bad-input.cjs', import.meta.url));

let redis: Redis;
let folder: string;
let brain: StubBrain;

beforeAll(async () => {
  [redis, folder, brain] = await Promise.all([startRedis(), target('bullmq-5.81.5'), stubBrain()]);
});
afterAll(async () => {
  await redis?.stop();
  await brain?.close();
});

type Environment = { readonly [name: string]: string | undefined };

async function host(what: string, env: Environment, register = true) {
  const set = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const args = [`${redis.port}`, what];
  await using child = await runChild({
    target: folder,
    program: PROGRAM,
    args,
    env: Object.fromEntries(set),
    register,
  });
  const end = await child.ended(40_000);
  return { ...end, stdout: child.stdout(), lines: child.stderr().split('\n').filter(Boolean) };
}

const SECRET = Buffer.alloc(32, 1).toString('base64url');
const THREAD = { Z4J_THREAD: '1' };

/** What is wrong, and what the one line says of it. */
const SETTINGS: readonly (readonly [string, Environment, RegExp])[] = [
  ['a token of two words', { Z4J_TOKEN: 'two words' }, /Expected Z4J_TOKEN to be/],
  ['a token nobody knows', { Z4J_TOKEN: 'nope' }, /does not know the token: check Z4J_TOKEN/],
  ['a token nobody knows, in a thread', { ...THREAD, Z4J_TOKEN: 'nope' }, /does not know the token: check Z4J_TOKEN/],
  [
    'a token in a file that is not there',
    { Z4J_TOKEN: undefined, Z4J_TOKEN_FILE: '/nope' },
    /\/nope \(Z4J_TOKEN_FILE\)/,
  ],
  ['half of a connection URL', { Z4J_TOKEN: 'https://' }, /Expected Z4J_TOKEN to be a token or a URL/],
  ['no secret', { Z4J_HMAC_SECRET: undefined }, /Z4J_HMAC_SECRET is not set: pass/],
  ['a secret that is not base64', { Z4J_HMAC_SECRET: '!!!' }, /Z4J_HMAC_SECRET: .*copy it again/],
  ['a secret that is too short', { Z4J_HMAC_SECRET: 'c2hvcnQ' }, /Z4J_HMAC_SECRET: .*32 bytes.*copy it again/],
  ['a secret of another project', { Z4J_HMAC_SECRET: SECRET }, /refuses our signature: Z4J_HMAC_SECRET/],
  ['no address', { Z4J_BRAIN_URL: undefined }, /Z4J_BRAIN_URL is not set: pass/],
  ['an address that is none', { Z4J_BRAIN_URL: 'brain.example' }, /Z4J_BRAIN_URL: .*look like https:/],
  ['an address of another protocol', { Z4J_BRAIN_URL: 'ftp://brain.example' }, /Z4J_BRAIN_URL: .*begin with https:/],
  ['an address in the clear', { Z4J_BRAIN_URL: 'ws://brain.example' }, /Z4J_BRAIN_URL: .*use https:/],
  [
    'an address where nobody is',
    { Z4J_BRAIN_URL: 'http://127.0.0.1:9' },
    /no connection to the brain.*check Z4J_BRAIN_URL/,
  ],
  ['an unknown library', { Z4J_DISABLED_INSTRUMENTATIONS: 'celery' }, /unknown `celery` ignored; known are/],
  ['an unknown action', { Z4J_ALLOW_COMMANDS: 'fly' }, /Expected Z4J_ALLOW_COMMANDS to be/],
  ['half of a pattern', { Z4J_REDACTION_EXTRA_KEY_PATTERNS: '(' }, /Expected Z4J_REDACTION_EXTRA_KEY_PATTERNS/],
  ['a number that is none', { Z4J_BUFFER_MAX_BYTES: 'much' }, /Expected Z4J_BUFFER_MAX_BYTES.*using 268435456/],
  ['a choice that is none', { Z4J_TRANSPORT: 'pigeon' }, /Expected Z4J_TRANSPORT to be one of auto, ws, longpoll/],
  ['a home that is a file', { Z4J_HOME: PROGRAM }, /cannot be used \(.*set Z4J_HOME/],
];

describe('settings that cannot be used: the host is as without the agent, and one line says what is wrong', () => {
  let plain: Awaited<ReturnType<typeof host>>;
  beforeAll(async () => {
    plain = await host('settings', {}, false);
    expect(plain).toMatchObject({ code: 7, lines: [] });
  });

  test.concurrent.each(SETTINGS)('%s', async (_name, env, line) => {
    const { lines, ...rest } = await host('settings', { ...brain.env, ...env });
    expect(lines).toEqual([expect.stringMatching(line)]);
    expect({ ...rest, lines: [] }).toEqual(plain);
    expect(lines.join()).not.toContain(brain.token);
  });
});

test.each([{}, THREAD])('jobs that cannot be printed: the host is as without the agent %o', async (env) => {
  const plain = await host('jobs', {}, false);
  expect(plain).toMatchObject({ code: 7, lines: [] });
  expect(plain.stdout).toContain('add getter: getter\n');
  const before = brain.events.length;
  expect(await host('jobs', { ...brain.env, ...env, Z4J_DELIVERY: 'complete' })).toEqual(plain);
  const told = brain.events.slice(before).map(({ kind, data }) => `${kind} ${data.task_name}`);
  for (const name of ['throw symbol', 'throw stack', 'return bigint', 'return cyclic'])
    expect(told).toContain(`task.failed ${name}`);
  for (const name of ['return huge', 'return fn', 'return nothing']) expect(told).toContain(`task.succeeded ${name}`);
});
