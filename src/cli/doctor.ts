import { accessSync, constants, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { readConfiguration } from '../config.js';
import { isSupported } from '../hub.js';
import { patchOf } from '../loading/door.js';
import { manifest } from '../loading/manifest.js';
import { TARGETS } from '../loading/targets.js';
import { checkConnection } from './check.js';
import type { CliOptions } from './options.js';
import { type Finding, report } from './report.js';

const MINIMUM = '^20.19.0 || ^22.12.0 || >=24.0.0';

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const good = major >= 24 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
  return good
    ? { outcome: 'ok', what: 'Node.js', detail: process.version }
    : { outcome: 'failed', what: 'Node.js', detail: `${process.version}; ${MINIMUM} is needed` };
}

/** The libraries that code in this folder would load. */
function libraries(): Finding[] {
  const require = createRequire(join(process.cwd(), 'noop.js'));
  const findings = TARGETS.flatMap((target): Finding[] => {
    const folder = require.resolve
      .paths(target.package)
      ?.find((path) => existsSync(join(path, target.package, 'package.json')));
    if (folder === undefined) return [];
    const version = manifest(join(folder, target.package, '/'))?.version ?? '?';
    const { supported } = patchOf(target);
    return [
      isSupported(version, supported)
        ? { outcome: 'ok', what: target.package, detail: version }
        : {
            outcome: 'failed',
            what: target.package,
            detail: `${version} is not observed; supported are ${supported.from} up to, not including, ${supported.below}`,
          },
    ];
  });
  if (findings.length > 0) return findings;
  const names = TARGETS.map((target) => target.package).join(', ');
  return [{ outcome: 'note', what: 'libraries', detail: `none of ${names} is installed for ${process.cwd()}` }];
}

/** `--import <name>` is resolved from the working directory, not from the script. */
function registration(): Finding {
  const { NODE_OPTIONS = '' } = process.env;
  const everywhere = NODE_OPTIONS.includes('@z4j/bare/register') ? '; NODE_OPTIONS has it for all processes' : '';
  const own = '@z4j/bare';
  const found = createRequire(join(process.cwd(), 'noop.js'))
    .resolve.paths(own)
    ?.some((path) => existsSync(join(path, own, 'package.json')));
  return found
    ? {
        outcome: 'ok',
        what: 'register',
        detail: `\`node --import @z4j/bare/register\` works from this folder${everywhere}`,
      }
    : {
        outcome: 'note',
        what: 'register',
        detail: `@z4j/bare is not installed in ${process.cwd()}: run node where it is, or give the path of register.mjs`,
      };
}

/** The nearest folder that exists decides whether the home can be made. */
function home(): Finding {
  const { home: path } = readConfiguration().settings;
  let at = path;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  try {
    accessSync(at, constants.W_OK);
    return { outcome: 'ok', what: 'home', detail: `${path} can be written` };
  } catch {
    return {
      outcome: 'failed',
      what: 'home',
      detail: `${path} cannot be written: events would end with their process; set Z4J_HOME`,
    };
  }
}

export async function doctor({ json }: CliOptions): Promise<number> {
  return report([node(), ...libraries(), registration(), home(), ...(await checkConnection())], json);
}
