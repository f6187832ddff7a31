import type { Log } from '../log.js';
import { ENGINES } from './targets.js';

type Environment = { readonly [name: string]: string | undefined };

const list = (value = ''): string[] =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

/**
 * Which instrumentations the environment wants: all, or the enabled ones, without the disabled ones. Names nobody
 * knows are told of and ignored.
 */
export function selection(env: Environment, log: Log): (engine: string) => boolean {
  const names = (variable: string): string[] => {
    const all = list(env[variable]);
    const unknown = all.filter((name) => !ENGINES.includes(name));
    if (unknown.length > 0)
      log.once(
        variable,
        'warn',
        `${variable}: unknown ${unknown.map((name) => `\`${name}\``).join(', ')} ignored; known are ${ENGINES.join(', ')}`,
      );
    return all.filter((name) => ENGINES.includes(name));
  };
  const enabled = names('Z4J_ENABLED_INSTRUMENTATIONS');
  const disabled = names('Z4J_DISABLED_INSTRUMENTATIONS');
  const narrowed = list(env.Z4J_ENABLED_INSTRUMENTATIONS).length > 0;
  return (engine) => !disabled.includes(engine) && (!narrowed || enabled.includes(engine));
}
