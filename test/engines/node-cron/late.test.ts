import { expect, test } from 'vitest';
import { stubBrain } from '../../../src/testing/index.js';
import { runChild } from '../../support/child.js';
import { targetOf } from './hosts.js';

const INDEX = new URL('../../../dist/src/index.js', import.meta.url).href;

const PROGRAM = `
  const cron = require('node-cron');
  const lists = typeof cron.getTasks === 'function' || typeof cron.default?.getTasks === 'function';
  (cron.schedule ?? cron.default.schedule)('0 0 1 1 *', () => {}, { name: 'earlier' });
  import('${INDEX}').then(async ({ Agent }) => {
    const agent = await new Agent().start();
    const { engines } = globalThis[Symbol.for('z4j.bare')];
    const rows = (await engines.get('node-cron')?.scheduler.list()) ?? [];
    console.log(JSON.stringify({ lists, names: rows.map(({ name }) => name) }));
    await agent.stop();
    process.exit();
  });
`;

test.each([
  ['2.0.3', false],
  ['3.0.3', true],
  ['4.0.7', false],
  ['4.2.1', true],
  ['4.6.0', true],
] as const)(
  'node-cron %s that has schedules before the agent: found is %s, and said where it is not',
  async (version, isFound) => {
    await using brain = await stubBrain();
    await using child = await runChild({
      target: await targetOf(version),
      program: { source: PROGRAM, name: 'late.cjs' },
      env: brain.env,
      register: false,
    });
    expect(await child.ended(30_000)).toMatchObject({ code: 0 });
    expect(JSON.parse(child.stdout())).toEqual({ lists: isFound, names: isFound ? [expect.any(String)] : [] });
    const lines = child.stderr().split('\n').filter(Boolean);
    expect(lines).toEqual(
      isFound
        ? []
        : [expect.stringContaining(`node-cron ${version} was loaded before the agent: schedules made before it`)],
    );
  },
);
