// Joins the modules that load together into one file each: every module costs a process a part of a millisecond at its
// start, however small it is. Each ends up in exactly one file, so that what it remembers exists once.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
const ENGINES = ['bullmq', 'agenda', 'node-cron'];

/**
 * The files there will be, each with all that its modules import statically and no file before it has. The first
 * module gives the path. A file that is `inner` exports what all its modules export, for the files after it.
 */
const FILES = [
  { modules: ['src/register', 'src/engine'], inner: true },
  { modules: ['src/loading/earlier'] },
  { modules: ['instrumentations/common', 'src/version'], inner: true },
  ...ENGINES.map((engine) => ({ modules: [`instrumentations/${engine}/patch`], inner: true })),
  { modules: ['instrumentations/bullmq/commands'] },
  { modules: ['src/protocol/index'], inner: true },
  { modules: ['src/autostart', 'src/hello'], inner: true },
  { modules: ['src/agent-link'], inner: true },
  ...ENGINES.map((engine) => ({ modules: [`instrumentations/${engine}/index`] })),
  { modules: ['src/index'] },
  { modules: ['src/esbuild'] },
  { modules: ['src/testing/stub-brain'], inner: true },
  { modules: ['src/testing/index'] },
  { modules: ['src/testing/vitest'] },
  { modules: ['src/cli/report'], inner: true },
  ...['config', 'check', 'doctor', 'status', 'schedules', 'index'].map((name) => ({ modules: [`src/cli/${name}`] })),
  // These run in threads of their own, where they share nothing and need but a part of the others.
  { modules: ['src/loading/hooks-thread'], alone: true },
  { modules: ['src/thread/worker'], alone: true },
].map(({ modules, ...rest }) => {
  const paths = modules.map((module) => join(DIST, `${module}.js`));
  return { path: paths[0], modules: paths, ...rest };
});

/** Module → the file that it ends up in. */
const homes = new Map(FILES.map(({ path }) => [path, path]));

function specifier(from, to) {
  const path = relative(dirname(from), to).replaceAll('\\', '/');
  return path.startsWith('.') ? path : `./${path}`;
}

/** Lets a file import the others from where they are, and its modules find their neighbours as before they moved. */
const places = ({ path: file, alone }) => ({
  name: 'places',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^\./ }, ({ path, resolveDir, kind }) => {
      const module = resolve(resolveDir, path);
      const home = homes.get(module);
      if (home === undefined && kind === 'dynamic-import') throw new Error(`${path} needs a file of its own`);
      if (alone || home === undefined || home === file) return { path: module };
      return { path: specifier(file, home), external: true };
    });
    onLoad({ filter: /\.js$/ }, ({ path }) => {
      const source = readFileSync(path, 'utf8');
      const url = `new URL('${specifier(file, path)}', import.meta.url).href`;
      return { contents: path === file ? source : source.replaceAll('import.meta.url', url) };
    });
  },
});

/** @returns what esbuild makes of the file; with the exports of several modules where there are several */
const bundle = (file, modules) =>
  build({
    ...(modules.length === 1
      ? { entryPoints: modules }
      : {
          stdin: {
            contents: modules.map((module) => `export * from '${specifier(file.path, module)}';`).join('\n'),
            resolveDir: dirname(file.path),
          },
        }),
    absWorkingDir: DIST,
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'es2022',
    packages: 'external',
    plugins: [places(file)],
  });

/** `name.a`, `name.b` in a text → `a`, `b` */
const fieldsOf = (name, text) => [
  ...new Set(Array.from(text.matchAll(new RegExp(`\\b${name}\\.(\\w+)`, 'g')), ([, field]) => field)),
];

/**
 * An `import` of a builtin makes a module of everything it exports, with what that needs: seven milliseconds of a start
 * for `node:fs`. What is taken here at load stays what it was, as with an `import`, when somebody patches the builtin.
 */
const withoutFaces = (text) =>
  text.replace(/^import (\w+|\{[^}]+\}|\* as \w+) from ("node:[\w/]+");$/gm, (_, names, builtin) => {
    const module = `process.getBuiltinModule(${builtin})`;
    if (!names.startsWith('*')) return `const ${names.replaceAll(' as ', ': ')} = ${module};`;
    const name = names.slice('* as '.length);
    const fields = fieldsOf(name, text).join(', ');
    return `const ${name} = (({ ${fields} }) => ({ ${fields} }))(${module});`;
  });

/** Names that the modules declare so outside of all functions. */
const declared = (modules, keyword) =>
  new Set(
    modules.flatMap((module) =>
      Array.from(
        readFileSync(module, 'utf8').matchAll(new RegExp(`^(?:export )?${keyword} ([\\w$]+)`, 'gm')),
        ([, name]) => name,
      ),
    ),
  );

/**
 * esbuild makes variables of what its modules declare as constants. V8 believes constants, and looks at variables each
 * time: a tenth of what an event costs on Node 20. A number behind a name tells names apart that two modules have.
 */
function withConstants(text, modules) {
  const constants = declared(modules, '(?:const|class)');
  const variables = declared(modules, 'let');
  return text.replace(/^var ([\w$]+?)(\d*) = /gm, (statement, name, number) => {
    const names = [name, name + number];
    const isConstant = names.some((one) => constants.has(one)) && !names.some((one) => variables.has(one));
    return isConstant ? statement.replace('var', 'const') : statement;
  });
}

const texts = new Map();
for (const file of FILES) {
  let built = await bundle(file, file.modules);
  const inside = Object.keys(built.metafile.inputs).filter((input) => input !== '<stdin>');
  const modules = inside.map((input) => join(DIST, input));
  if (!file.alone) for (const module of modules) homes.set(module, file.path);
  if (file.inner) built = await bundle(file, [...new Set([...file.modules, ...modules])]);
  texts.set(file.path, withConstants(withoutFaces(built.outputFiles[0].text), modules));
}

for (const { parentPath, name } of readdirSync(DIST, { recursive: true, withFileTypes: true })) {
  if (name.endsWith('.js')) rmSync(join(parentPath, name));
}
for (const [path, text] of texts) writeFileSync(path, text);
