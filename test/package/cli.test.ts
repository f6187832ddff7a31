import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../../src/agent.js';
import { type StubBrain, stubBrain } from '../../src/testing/index.js';

const CLI = fileURLToPath(new URL('../../dist/src/cli/index.js', import.meta.url));

let home: string;
let brain: StubBrain;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'z4j-cli-'));
  brain = await stubBrain();
});
afterAll(async () => {
  await brain.close();
  await rm(home, { recursive: true, force: true });
});

/** In a process of its own: nothing but the command keeps it alive. */
function cli(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const options = { env: { PATH: process.env.PATH, Z4J_HOME: home, ...brain.env, ...env } };
  return new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [CLI, ...args], options, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    );
  });
}

describe('z4j-bare in a process of its own', () => {
  test.each(['check', 'doctor'])('%s waits for the answers of the brain', async (command) => {
    const { code, stdout, stderr } = await cli([command]);
    expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/ok {6}signature and clock: accepted/);
  });

  test('check fails where the brain refuses the secret', async () => {
    const { code, stdout } = await cli(['check'], { Z4J_HMAC_SECRET: Buffer.alloc(32).toString('base64url') });
    expect(code).toBe(1);
    expect(stdout).toMatch(/FAILED {2}signature and clock: refused .*copy Z4J_HMAC_SECRET again/);
  });

  test('status asks a running agent', async () => {
    expect(await cli(['status'])).toMatchObject({ code: 0, stdout: `No agent has run with its home in ${home}\n` });
    const { Z4J_BRAIN_URL: brainUrl, Z4J_TOKEN: token, Z4J_HMAC_SECRET: hmacSecret } = brain.env;
    await using agent = await new Agent({ brainUrl, token, hmacSecret, home, agentName: 'here' }).start();
    expect(agent.state).toBe('running');
    const { code, stdout } = await cli(['status', '--json']);
    expect(code).toBe(0);
    const { slots } = JSON.parse(stdout);
    expect(slots).toMatchObject([{ slot: 0, pid: process.pid, status: { state: 'running' } }]);
  });

  test('status tells a slot that was left without a word from one that is held', async () => {
    const other = await mkdtemp(join(tmpdir(), 'z4j-cli-'));
    const source = `import { Agent } from ${JSON.stringify(new URL('../../dist/src/index.js', import.meta.url).href)};
      await new Agent().start(); process.exit(3);`;
    const env = { PATH: process.env.PATH, ...brain.env, Z4J_HOME: other };
    const args = ['--input-type=module', '-e', source];
    const pid = await new Promise<number | undefined>((resolve) => {
      const child = execFile(process.execPath, args, { env }, () => resolve(child.pid));
    });
    const { code, stdout } = await cli(['status'], { Z4J_HOME: other });
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`slot 0  free, left by pid ${pid}  -  \\d+ bytes on disk\n$`));
    await rm(other, { recursive: true });
  });

  test('says what it knows when it is asked for something else', async () => {
    const { code, stdout, stderr } = await cli(['chek']);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('Unknown command chek\n\nUsage: z4j-bare <command>');
  });
});
