import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stubBrain } from '../../src/testing/index.js';
import { node, run, stage } from './run.mjs';

/** Where ES modules are seen as they are read, and where hooks see them. */
const LINES = ['20', '24'];

let folder: string;
beforeAll(async () => {
  folder = await stage('main');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const PROGRAM = `
  import { Agenda } from 'agenda';
  import { Worker } from 'bullmq';
  import cron, { createTask } from 'node-cron';
  import * as z4j from '@z4j/bare';
  HOW
  while ((globalThis[Symbol.for('z4j.bare')]?.targets.length ?? 0) < 3) await new Promise((done) => setTimeout(done, 5));
  const task = cron.createTask('0 0 1 1 *', () => 42, { name: 'yearly' });
  await task.execute();
  await task.destroy();
  const { targets } = globalThis[Symbol.for('z4j.bare')];
  const marked = (method) => Symbol.for('z4j.bare.wrapped') in method;
  console.log(JSON.stringify({
    targets: targets.map(({ package: name, outcome }) => [name, outcome].join(' ')).sort(),
    marked: [Agenda.prototype.emit, Worker.prototype.run].map(marked),
  }));
`;

describe.each([
  ['an agent started in code', 'const agent = await new z4j.Agent().start();', 'await agent.stop();'],
  ['register imported in code', "await import('@z4j/bare/register');", ''],
] as const)('%s, after the libraries', (name, how, end) => {
  test.each(LINES)('Node %s', { timeout: 120_000 }, async (version) => {
    await using brain = await stubBrain();
    const program = join(folder, `${name.replaceAll(' ', '-')}-${version}.mjs`);
    await writeFile(program, PROGRAM.replace('HOW', how) + end);
    const output = await run(await node(version), ['--no-warnings', program], {
      cwd: folder,
      env: { ...brain.env, Z4J_HOME: join(folder, `home-${version}`) },
    });
    expect(output).toMatchObject({ code: 0 });
    expect(JSON.parse(output.stdout)).toEqual({
      targets: ['agenda patched', 'bullmq patched', 'node-cron patched'],
      marked: [true, true],
    });
    expect(output.stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/node-cron 4\.6\.0 was loaded before the agent: functions imported from it by name/),
    ]);
    expect(brain.events.filter(({ eventType }) => eventType === 'task_succeeded')).toHaveLength(1);
  });
});
