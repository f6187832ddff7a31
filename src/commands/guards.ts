import { timingSafeEqual } from 'node:crypto';
import { CommandError, type JsonObject, type JsonValue } from '../engine.js';
import { legacyPurgeToken, purgeToken } from '../protocol/index.js';

export interface PurgeRules {
  readonly secret: Buffer;
  readonly threshold: number;
  readonly acceptLegacyToken: boolean;
}

const same = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'));

/** Throws a `CommandError` unless the purge of `queue` at `depth` is covered by its token, or forced. */
export function checkPurge(parameters: JsonObject, queue: string, depth: number, rules: PurgeRules): void {
  if (parameters.force === true) return;
  const token = parameters.confirm_token;
  if (typeof token !== 'string' || !/^[0-9a-f]{64}$/.test(token)) {
    throw new CommandError('refused', `purge of ${queue} needs the depth you saw (observed_depth) or force`);
  }
  const keyed = same(token, purgeToken(rules.secret, queue, depth));
  if (!keyed && !(rules.acceptLegacyToken && same(token, legacyPurgeToken(queue, depth)))) {
    throw new CommandError(
      'refused',
      `purge of ${queue} was confirmed for another depth than the ${depth} jobs it holds now; look again, or use force`,
    );
  }
  if (depth > rules.threshold) {
    throw new CommandError(
      'refused',
      `${queue} holds ${depth} jobs, more than Z4J_PURGE_THRESHOLD (${rules.threshold}) allows without force`,
    );
  }
}

/** Whether `action` is in an allow list; `schedule.*` stands for all that begin with `schedule.`. */
export function isAllowed(action: string, allowed: readonly string[]): boolean {
  return allowed.some((item) => item === action || (item.endsWith('.*') && action.startsWith(item.slice(0, -1))));
}

/** Characters. */
export const MAX_NAME = 500;

/** Control characters, NUL among them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

function checkName(key: string, value: JsonValue | undefined): void {
  if (value === undefined || value === null) return;
  if (typeof value !== 'string' || value === '' || value.length > MAX_NAME || CONTROL.test(value)) {
    throw new CommandError(
      'invalid',
      `Expected \`${key}\` to be a text of 1 to ${MAX_NAME} characters without control characters`,
    );
  }
}

const NAMES = ['engine', 'scheduler', 'task_id', 'task_name', 'queue', 'worker_name', 'schedule_id', 'fire_id', 'name'];
const MAX_PARAMETERS = 512 * 1024;

/** Size and names of what a brain sent, before anything of it reaches a broker. Throws a `CommandError`. */
export function checkParameters(parameters: JsonObject): void {
  if (JSON.stringify(parameters).length > MAX_PARAMETERS) {
    throw new CommandError('invalid', `parameters are larger than ${MAX_PARAMETERS} bytes`);
  }
  for (const key of NAMES) checkName(key, parameters[key]);
  const { delta } = parameters;
  if (delta !== undefined && !(Number.isInteger(delta) && (delta as number) >= 1 && (delta as number) <= 1000)) {
    throw new CommandError('invalid', 'Expected `delta` to be a whole number from 1 to 1000');
  }
  const { rate } = parameters;
  if (rate !== undefined && !(typeof rate === 'string' && /^(0|[1-9]\d{0,8}(\/[smh])?)$/.test(rate))) {
    throw new CommandError('invalid', 'Expected `rate` to be 0, N, N/s, N/m or N/h');
  }
}
