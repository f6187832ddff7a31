import { type ExecFileException, execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const bin = (name: string): string => join(ROOT, 'node_modules/.bin', name);

interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Run> {
  const options = { cwd, env: { PATH: process.env.PATH, HOME: process.env.HOME, NO_COLOR: '1', ...env } };
  return new Promise((resolve) => {
    execFile(command, args, options, (error: ExecFileException | null, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      resolve({ code, stdout, stderr });
    });
  });
}

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

let folder: string;
let packed: Packed;
let consumer: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'z4j-package-'));
  // Without scripts: other tests are using the build this very moment.
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], ROOT);
  [packed] = JSON.parse(stdout) as [Packed];
  consumer = join(folder, 'consumer');
  await mkdir(consumer);
  const tarball = `file:../${packed.filename}`;
  const dependencies = { '@z4j/bare': tarball };
  await writeFile(join(consumer, 'package.json'), JSON.stringify({ name: 'consumer', private: true, dependencies }));
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
  const install = await run('npm', ['install', ...flags], consumer);
  expect(install).toMatchObject({ code: 0 });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the tarball', () => {
  test('is small', () => {
    expect(packed.size).toBeLessThan(300_000);
  });

  test('holds the build, the start file and the texts, nothing else', () => {
    const paths = packed.files.map(({ path }) => path);
    const others = paths.filter((path) => !/^dist\/(src|instrumentations)\/.+\.(js|d\.ts)$/.test(path));
    expect(others.sort()).toEqual(
      ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json', 'register.d.mts', 'register.mjs'].sort(),
    );
  });

  test('holds every file that its files import', async () => {
    const paths = new Set(packed.files.map(({ path }) => path));
    const missing: string[] = [];
    for (const path of paths) {
      if (!/\.(m?js|d\.m?ts)$/.test(path)) continue;
      const text = await readFile(join(consumer, 'node_modules/@z4j/bare', path), 'utf8');
      for (const [, specifier = ''] of text.matchAll(/(?:from|import|require)\s*\(?\s*['"](\.[^'"\n]+)['"]/g)) {
        const wanted = posix.join(dirname(path), specifier);
        const found = path.endsWith('ts') ? wanted.replace(/\.(m?)js$/, '.d.$1ts') : wanted;
        if (!paths.has(found) && !paths.has(wanted)) missing.push(`${path}: ${specifier}`);
      }
    }
    expect(missing).toEqual([]);
  });

  test('names every file to bundlers that is imported for what it does', async () => {
    const installed = join(consumer, 'node_modules/@z4j/bare');
    const { sideEffects } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
    const imported = new Set<string>();
    for (const { path } of packed.files) {
      if (!path.endsWith('.js')) continue;
      const text = await readFile(join(installed, path), 'utf8');
      for (const [, specifier = ''] of text.matchAll(/^import ['"](\.[^'"]+)['"]/gm)) {
        imported.add(`./${posix.join(dirname(path), specifier)}`);
      }
    }
    expect([...imported].filter((path) => !sideEffects.includes(path))).toEqual([]);
  });

  test('has no fault that publint finds', async () => {
    const { code, stdout, stderr } = await run(
      bin('publint'),
      ['run', join(folder, packed.filename), '--strict'],
      ROOT,
    );
    expect(code, stdout + stderr).toBe(0);
  });

  test('has types that resolve as its code does', async () => {
    const args = [join(folder, packed.filename), '--profile', 'esm-only', '--format', 'ascii'];
    const { code, stdout, stderr } = await run(bin('attw'), args, ROOT);
    expect(code, stdout + stderr).toBe(0);
  });
});

/** Specifiers of everything that the package exports, with the wildcard filled in from what is there. */
async function entries(): Promise<string[]> {
  const installed = join(consumer, 'node_modules/@z4j/bare');
  const { exports } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
  const names = Object.keys(exports).filter((name) => name !== './package.json' && !name.includes('*'));
  const engines = await readdir(join(installed, 'dist/instrumentations'), { withFileTypes: true });
  const wildcard = engines.filter((entry) => entry.isDirectory()).map(({ name }) => `./instrumentations/${name}`);
  return [...names, ...wildcard].map((name) => posix.join('@z4j/bare', name));
}

describe('an application that installed it', () => {
  test('imports every entry', async () => {
    for (const entry of await entries()) {
      // This one belongs to a test runner and cannot be loaded outside of it.
      if (entry.endsWith('/vitest')) continue;
      const source = `import * as it from '${entry}'; console.log(Object.keys(it).length)`;
      const { code, stderr } = await run(process.execPath, ['--input-type=module', '-e', source], consumer);
      expect(code, `${entry}\n${stderr}`).toBe(0);
    }
  });

  test('requires every entry from CommonJS, the start file excepted', async () => {
    for (const entry of await entries()) {
      if (entry.endsWith('/vitest') || entry.endsWith('/register')) continue;
      const flags = ['--input-type=commonjs', '-e', `console.log(Object.keys(require('${entry}')).length > 0)`];
      const { code, stdout, stderr } = await run(process.execPath, flags, consumer);
      expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'true\n' });
    }
  });

  test('runs under --import without a trace', async () => {
    const plain = await run(process.execPath, ['-e', 'console.log(1)'], consumer);
    for (const env of [{}, { Z4J_TOKEN: 't', Z4J_HMAC_SECRET: Buffer.alloc(32).toString('base64url') }]) {
      const home = { Z4J_HOME: join(folder, 'home'), Z4J_BRAIN_URL: 'http://127.0.0.1:9' };
      const args = ['--import', '@z4j/bare/register', '-e', 'console.log(1)'];
      expect(await run(process.execPath, args, consumer, { ...home, ...env })).toEqual(plain);
    }
  });

  test('is refused under --require before anything runs', async () => {
    const { code, stdout, stderr } = await run(
      process.execPath,
      ['--require', '@z4j/bare/register', '-e', 'console.log(1)'],
      consumer,
    );
    expect(code).not.toBe(0);
    expect(stdout).toBe('');
    expect(stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  test.each(['nodenext', 'bundler'])('is typed with module resolution %s', async (moduleResolution) => {
    const project = join(consumer, moduleResolution);
    await mkdir(project);
    // Node's own types are the only ones a consumer is expected to have.
    await mkdir(join(project, 'types'));
    await symlink(join(ROOT, 'node_modules/@types/node'), join(project, 'types/node'));
    const compilerOptions = {
      module: moduleResolution === 'nodenext' ? 'nodenext' : 'esnext',
      moduleResolution,
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable'],
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      typeRoots: ['types'],
      types: ['node'],
    };
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['all.mts', 'use.mts'] }));
    // The entry for a test runner needs that runner's types, which only its users have.
    const typed = (await entries()).filter((entry) => !entry.endsWith('/vitest'));
    const imports = typed.map((entry, index) => `import * as e${index} from '${entry}'; export { e${index} };`);
    await writeFile(join(project, 'all.mts'), imports.join('\n'));
    await writeFile(join(project, 'use.mts'), await readFile(new URL('./fixtures/use.mts', import.meta.url), 'utf8'));
    const { code, stdout } = await run(bin('tsc'), ['-p', project], project);
    expect(code, stdout).toBe(0);
  });
});
