// The last step of the build: declarations that no entry of the package leads to are of no use to anybody.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../dist', import.meta.url));

const declarations = readdirSync(DIST, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.d.ts'))
  .map((entry) => join(entry.parentPath, entry.name));

const wanted = new Set(
  declarations.filter((path) =>
    /[\\/]dist[\\/](src[\\/](index|esbuild|testing[\\/](index|vitest))|instrumentations[\\/][^\\/]+[\\/]index)\.d\.ts$/.test(
      path,
    ),
  ),
);
for (const path of wanted) {
  for (const [, specifier] of readFileSync(path, 'utf8').matchAll(/(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g)) {
    wanted.add(resolve(dirname(path), specifier.replace(/\.js$/, '.d.ts')));
  }
}
for (const path of declarations) if (!wanted.has(path)) rmSync(path);
