// Supplies the source of every CommonJS file, as transpiling loaders do.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  if (loaded.format !== 'commonjs' || loaded.source || !url.startsWith('file:')) return loaded;
  return { ...loaded, source: await readFile(fileURLToPath(url)) };
}
