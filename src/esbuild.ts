import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { appendCall } from './loading/append.js';
import { role } from './loading/manifest.js';
import { TARGETS, targetFile } from './loading/targets.js';

/** The part of an esbuild plugin that is used here; esbuild itself is not a dependency. */
export interface BuildPlugin {
  readonly name: string;
  setup(build: {
    onLoad(
      options: { filter: RegExp },
      load: (args: { path: string }) => Promise<{ contents: string; loader: 'js' } | undefined>,
    ): void;
  }): void;
}

/**
 * Makes bundled target libraries known to `--import @z4j/bare/register`: appends to their modules the same call that
 * the loader appends to unbundled ones.
 *
 *     await esbuild.build({ bundle: true, platform: 'node', plugins: [z4jBare()], … })
 */
export function z4jBare(): BuildPlugin {
  const names = TARGETS.map((target) => target.package.replace('/', '[\\\\/]')).join('|');
  return {
    name: 'z4j-bare',
    setup(build) {
      build.onLoad({ filter: new RegExp(`node_modules[\\\\/](?:${names})[\\\\/].*\\.[cm]?js$`) }, async ({ path }) => {
        const found = targetFile(path);
        if (found === undefined || role(found) === undefined) return undefined;
        const source = await readFile(path, 'utf8');
        const isModule = /^(?:import|export)\b/m.test(source);
        const contents = appendCall(source, isModule ? 'module' : 'commonjs', found, `./${basename(path)}`);
        return { contents, loader: 'js' };
      });
    },
  };
}
