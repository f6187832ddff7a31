import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stubBrain } from '../../src/testing/index.js';
import { QUIET } from './fixtures.mjs';
import { run, stage } from './run.mjs';

let folder: string;
beforeAll(async () => {
  folder = await stage('opentelemetry');
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const sdk = `
  const [{ NodeSDK }, { AgendaInstrumentation }, { BullMQInstrumentation }, { NodeCronInstrumentation }] = await Promise.all([
    import('@opentelemetry/sdk-node'),
    import('@z4j/bare/instrumentations/agenda'),
    import('@z4j/bare/instrumentations/bullmq'),
    import('@z4j/bare/instrumentations/node-cron'),
  ]);
  const instrumentations = [new AgendaInstrumentation(), new BullMQInstrumentation(), new NodeCronInstrumentation()];
  new NodeSDK({ instrumentations }).start();`;
const agent = `
  const { Agent } = await import('@z4j/bare');
  const agent = await new Agent().start();`;
const work = (load: string): string => `
  const { Worker } = await ${load}('bullmq');
  const { Agenda } = await ${load}('agenda');
  const { createTask } = await ${load}('node-cron');
  const task = createTask('0 0 1 1 *', () => [Worker.name, Agenda.name].join(), { name: 'yearly' });
  await task.execute();
  await task.destroy();
  const { targets } = globalThis[Symbol.for('z4j.bare')];
  console.log(targets.map(({ package: name, outcome }) => name + ' ' + outcome).sort().join());`;

const REGISTER = ['--import', '@z4j/bare/register'];
const LOADER = ['--experimental-loader', '@opentelemetry/instrumentation/hook.mjs'];

test.each([
  ['CJS with register', 'cjs', REGISTER, true],
  ['CJS with an agent in code', 'cjs', [], false],
  ['ESM with the loader of OpenTelemetry and register', 'mjs', [...LOADER, ...REGISTER], true],
  ['ESM with the loader of OpenTelemetry and an agent in code', 'mjs', LOADER, false],
  ['ESM with an agent in code', 'mjs', [], false],
] as const)(
  'a NodeSDK with our instrumentations: %s',
  { timeout: 120_000 },
  async (name, extension, flags, registered) => {
    await using brain = await stubBrain();
    const program = join(folder, `${name.replaceAll(' ', '-')}.${extension}`);
    const body = [sdk, registered ? '' : agent, work(extension === 'cjs' ? 'require' : 'import')].join('');
    const end = registered ? '' : 'await agent.stop();';
    await writeFile(program, extension === 'cjs' ? `(async () => {${body}${end}})();` : `${body}${end}`);
    const output = await run(process.execPath, ['--no-warnings', ...flags, program], {
      cwd: folder,
      env: { ...QUIET, ...brain.env, Z4J_HOME: join(folder, name.replaceAll(' ', '-')) },
    });
    expect(output).toMatchObject({ code: 0, stdout: 'agenda patched,bullmq patched,node-cron patched\n', stderr: '' });
    const kinds = brain.events.filter(({ engine }) => engine === 'node-cron').map(({ eventType }) => eventType);
    for (const kind of ['task_received', 'task_started', 'task_succeeded'])
      expect(kinds.filter((one) => one === kind)).toHaveLength(1);
  },
);
