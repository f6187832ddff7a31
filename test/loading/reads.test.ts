import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { node, run, stage, told } from './run.mjs';

let folder: string;
let count = 0;
beforeAll(async () => {
  folder = await stage('main');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const LIBRARIES = ['agenda', 'node-cron'];

/** What a program says at its end, and which ES modules were patched in it. */
async function host(source: string): Promise<unknown> {
  const program = join(folder, `reads-${count++}.mjs`);
  await writeFile(
    program,
    `${source}
    const { targets = [] } = globalThis[Symbol.for('z4j.bare')];
    const patched = targets.filter(({ outcome }) => outcome === 'patched').map((one) => one.package).sort();
    const hooked = process.moduleLoadList.includes('NativeModule internal/modules/esm/hooks');
    console.log('done ' + JSON.stringify({ patched, hooked, ...globalThis.more }));`,
  );
  const env = { Z4J_TOKEN: 'x', Z4J_LOG_LEVEL: 'silent', Z4J_HOME: join(folder, 'home') };
  const output = await run(await node('20'), ['--import', '@z4j/bare/register', program], { cwd: folder, env });
  expect(output).toMatchObject({ code: 0, stderr: '' });
  return told(output.stdout, 'done');
}

describe('Node 20, where ES modules are seen as they are read', { timeout: 120_000 }, () => {
  test('there is no thread of hooks', async () => {
    expect(await host("import 'agenda'; import 'node-cron';")).toEqual({ patched: LIBRARIES, hooked: false });
  });

  test('a stack that the host formats in its own way does not matter', async () => {
    const source = "Error.stackTraceLimit = 0; Error.prepareStackTrace = () => 'x'; await import('agenda');";
    expect(await host(source)).toEqual({ patched: ['agenda'], hooked: false });
  });

  test('what the host reads is what is in the file', async () => {
    const source = `
      import { promises, readFileSync } from 'node:fs';
      import 'agenda';
      const entry = new URL(import.meta.resolve('agenda'));
      const read = await Promise.all([promises.readFile(entry), promises.readFile(entry, 'utf8')]);
      globalThis.more = { same: read.map((content) => String(content) === readFileSync(entry, 'utf8')) };`;
    expect(await host(source)).toEqual({ patched: ['agenda'], hooked: false, same: [true, true] });
  });

  test('a loader that the host registers later is followed to its thread', async () => {
    const source = `
      import { register } from 'node:module';
      const loader = 'export const load = (url, context, next) => next(url, context);';
      register('data:text/javascript,' + encodeURIComponent(loader));
      await import('agenda');
      await import('node-cron');`;
    expect(await host(source)).toEqual({ patched: LIBRARIES, hooked: true });
  });
});
