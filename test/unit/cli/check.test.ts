import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { checkConnection } from '../../../src/cli/check.js';
import { stubBrain } from '../../../src/testing/index.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

const NAMES = ['Z4J_TOKEN', 'Z4J_HMAC_SECRET', 'Z4J_BRAIN_URL', 'Z4J_PROJECT_ID'];

async function check(env: Record<string, string | undefined>) {
  for (const name of NAMES) vi.stubEnv(name, env[name] ?? '');
  const findings = await checkConnection();
  return { ok: findings.filter(({ outcome }) => outcome === 'ok').map(({ what }) => what), last: findings.at(-1) };
}

describe('z4j-bare check', () => {
  test('walks all the way to an accepted signature, and says no hello', async () => {
    await using stub = await stubBrain();
    const { ok, last } = await check({ ...stub.env });
    expect(ok).toEqual(['settings', 'secret', 'address', 'name', 'network', 'token', 'signature and clock']);
    expect(last?.detail).toMatch(/accepted; the clocks are \d+ s apart/);
    expect(stub.hellos).toHaveLength(0);
  });

  test('stops at the first step that fails and says what to do', async () => {
    await using stub = await stubBrain();
    const failed = async (env: Record<string, string>) => (await check({ ...stub.env, ...env })).last;
    expect(await failed({ Z4J_TOKEN: '' })).toMatchObject({ outcome: 'failed', what: 'settings' });
    expect(await failed({ Z4J_HMAC_SECRET: 'c2hvcnQ' })).toMatchObject({ outcome: 'failed', what: 'secret' });
    expect(await failed({ Z4J_BRAIN_URL: 'http://brain.example' })).toMatchObject({
      outcome: 'failed',
      what: 'address',
    });
    expect(await failed({ Z4J_BRAIN_URL: 'http://127.0.0.1:1' })).toMatchObject({ outcome: 'failed', what: 'network' });
    expect(await failed({ Z4J_TOKEN: 'unknown' })).toMatchObject({ outcome: 'failed', what: 'token' });
    expect(await failed({ Z4J_HMAC_SECRET: randomBytes(32).toString('base64url') })).toMatchObject({
      outcome: 'failed',
      what: 'signature and clock',
    });
  });
});
