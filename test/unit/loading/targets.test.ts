import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { append, appendCall, targetOfUrl } from '../../../src/loading/append.js';
import { manifest, role } from '../../../src/loading/manifest.js';
import { type TargetFile, targetFile } from '../../../src/loading/targets.js';

const root = mkdtempSync(join(tmpdir(), 'z4j-targets-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function library(name: string, fields: object): string {
  const folder = join(root, name.replace('/', '-'), 'node_modules', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, version: '6.2.6', ...fields }));
  return folder;
}

const find = (path: string): TargetFile => {
  const found = targetFile(path);
  if (found === undefined) throw new Error(`${path} is no target`);
  return found;
};

describe('targetFile', () => {
  test.each([
    ['/app/node_modules/bullmq/dist/cjs/index.js', 'bullmq', 'dist/cjs/index.js'],
    ['/app/node_modules/.pnpm/agenda@6.2.6/node_modules/agenda/dist/index.js', 'agenda', 'dist/index.js'],
    ['/app/node_modules/@hokify/agenda/dist/index.js', '@hokify/agenda', 'dist/index.js'],
    [
      '/app/.yarn/cache/node-cron-npm-4.6.0.zip/node_modules/node-cron/dist/node-cron.js',
      'node-cron',
      'dist/node-cron.js',
    ],
    ['C:\\app\\node_modules\\@hokify\\agenda\\dist\\index.js', '@hokify/agenda', 'dist/index.js'],
    ['C:\\app\\node_modules\\bullmq\\dist\\cjs\\classes\\job.js', 'bullmq', 'dist/cjs/classes/job.js'],
  ])('%s', (path, name, file) => {
    expect(find(path)).toMatchObject({ target: { package: name }, file, directory: path.slice(0, -file.length) });
  });

  test.each([
    '/app/bullmq/dist/cjs/index.js',
    '/app/node_modules/bullmq-pro/dist/cjs/index.js',
    '/app/node_modules/@taskforcesh/bullmq/index.js',
    '/app/node_modules/bullmq/node_modules/semver/index.js',
    '/app/node_modules/node-cron',
    'node:fs',
  ])('is not a target: %s', (path) => {
    expect(targetFile(path)).toBeUndefined();
  });
});

describe('entry modules', () => {
  test.each([
    [{ main: './dist/cjs/index.js' }, ['dist/cjs/index.js']],
    [{ main: 'dist' }, ['dist', 'dist.js', 'dist/index.js']],
    [{}, ['index.js']],
    [{ exports: './dist/index.js' }, ['dist/index.js']],
    [
      { exports: { '.': { import: { types: './a.d.ts', default: './a.js' }, require: './a.cjs' }, './x': './x.js' } },
      ['a.js', 'a.cjs'],
    ],
    [{ exports: { import: './a.js', require: './b.cjs' } }, ['a.js', 'b.cjs']],
  ])('of %j', (fields, entries) => {
    const directory = join(mkdtempSync(join(root, 'case-')), 'node_modules/agenda/');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'package.json'), JSON.stringify({ version: '6.2.6', ...fields }));
    expect([...(manifest(directory)?.entries ?? [])]).toEqual(expect.arrayContaining(entries));
    for (const file of entries) expect(role(find(join(directory, file)))).toBe('entry');
    expect(role(find(join(directory, 'dist/other.js')))).toBeUndefined();
    expect(manifest(directory)?.entries.has('x.js')).toBe(false);
  });

  test('a folder without a readable package.json is nobody', () => {
    expect(role(find('/nowhere/node_modules/agenda/index.js'))).toBeUndefined();
  });

  test('class files of BullMQ count, its other inner files do not', () => {
    library('bullmq', { main: './dist/cjs/index.js' });
    const file = (name: string): TargetFile => find(join(root, 'bullmq/node_modules/bullmq', name));
    expect(role(file('dist/cjs/classes/worker.js'))).toBe('inner');
    expect(role(file('dist/cjs/index.js'))).toBe('entry');
    expect(role(file('dist/cjs/classes/main.js'))).toBeUndefined();
    expect(role(file('dist/cjs/classes/child-processor.js'))).toBeUndefined();
  });
});

describe('append', () => {
  const folder = library('node-cron', { main: './cron.js' });
  const path = join(folder, 'cron.js');
  const url = pathToFileURL(path).href;
  const found = find(path);

  test('adds to the end, whatever the last line is', () => {
    const { source } = append({ format: 'module', source: 'export const a = 1\n//# sourceMappingURL=x' }, url, found);
    expect(source).toMatch(/^export const a = 1\n\/\/# sourceMappingURL=x\n;import\*as z4jSelf from "file:/);
  });

  test('hands out setters of function declarations only', () => {
    const source = [
      'export function schedule(a) {}',
      'const createTask = () => {};',
      'async function shutdown() {}',
      'export { createTask, shutdown };',
    ].join('\n');
    const { source: result } = append({ format: 'module', source }, url, found);
    expect(result).toContain('{schedule:(z4jValue)=>{schedule=z4jValue},shutdown:(z4jValue)=>{shutdown=z4jValue}}');
  });

  test('reads bytes', () => {
    const bytes = new TextEncoder().encode('export const ä = 1;');
    expect(append({ format: 'module', source: bytes }, url, found).source).toContain('export const ä = 1;\n;');
    expect(append({ format: 'commonjs', source: bytes.buffer }, url, found).source).toContain('module.exports);');
  });

  test('leaves alone what is no source of ours to change', () => {
    for (const loaded of [
      { format: 'commonjs', source: null },
      { format: 'commonjs', source: undefined },
      { format: 'json', source: '{}' },
      { format: 'wasm', source: new Uint8Array() },
    ])
      expect(append(loaded, url, found)).toBe(loaded);
  });

  test('the appended call does nothing where nobody listens', () => {
    const code = appendCall('module.exports = 1;', 'commonjs', found, './cron.js');
    const module = { exports: {} as unknown };
    new Function('module', 'globalThis', code)(module, {});
    expect(module.exports).toBe(1);
  });

  test('the appended call tells what it belongs to', () => {
    const heard: unknown[] = [];
    const code = appendCall('module.exports = 1;', 'commonjs', found, './cron.js');
    const globals = { [Symbol.for('z4j.bare')]: { loaded: (...args: unknown[]) => heard.push(...args) } };
    new Function('module', 'globalThis', code)({ exports: {} }, globals);
    expect(heard).toEqual([{ package: 'node-cron', version: '6.2.6', file: path }, 1]);
  });

  test('URLs of wrapper modules and of other schemes are no targets', () => {
    expect(targetOfUrl(url)?.file).toBe('cron.js');
    expect(targetOfUrl(`${url}?v=2`)?.file).toBe('cron.js');
    expect(targetOfUrl(`${url}?iitm=true`)).toBeUndefined();
    expect(targetOfUrl('node:fs')).toBeUndefined();
    expect(targetOfUrl('data:text/javascript,node_modules/node-cron/cron.js')).toBeUndefined();
  });
});
