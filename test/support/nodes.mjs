import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const CACHE = fileURLToPath(new URL('../../.cache/nodes/', import.meta.url));
const BINARY = process.platform === 'win32' ? 'node_modules/node/bin/node.exe' : 'node_modules/node/bin/node';

/**
 * The binary of a Node version or release line (`22`, `22.12.0`), installed on demand from the `node` package, about
 * 130 MB each. The running Node serves where it fits.
 */
export async function node(version) {
  if (`${process.versions.node}.`.startsWith(`${version}.`)) return process.execPath;
  const folder = join(CACHE, version);
  const binary = join(folder, BINARY);
  if (existsSync(binary)) return binary;
  await mkdir(CACHE, { recursive: true });
  const attempt = await mkdtemp(join(CACHE, '.installing-'));
  try {
    await writeFile(join(attempt, 'package.json'), JSON.stringify({ private: true }));
    const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => key !== 'NODE_OPTIONS'));
    const args = ['install', `node@${version}`, '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
    await promisify(execFile)('npm', args, { cwd: attempt, env, maxBuffer: 1 << 26 });
    await rename(attempt, folder);
  } catch (error) {
    if (!existsSync(binary)) throw new Error(`Cannot install Node ${version}`, { cause: error });
  } finally {
    await rm(attempt, { recursive: true, force: true });
  }
  return binary;
}
