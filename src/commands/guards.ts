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

const isName = (value: JsonValue): boolean =>
  typeof value === 'string' && value !== '' && value.length <= MAX_NAME && !CONTROL.test(value);

const isObject = (value: JsonValue): boolean => typeof value === 'object' && !Array.isArray(value);

/** As far ahead as a brain lets events lie behind. */
const MAX_AHEAD_SECONDS = 400 * 86_400;

interface Rule {
  readonly keys: readonly string[];
  readonly expected: string;
  readonly test: (value: JsonValue) => boolean;
}

const NAMES: Rule = {
  keys: ['engine', 'scheduler', 'task_id', 'task_name', 'queue', 'worker_name', 'schedule_id', 'fire_id', 'name'],
  expected: `a text of 1 to ${MAX_NAME} characters without control characters`,
  test: isName,
};

/** Null and absent are the same. */
const RULES: readonly Rule[] = [
  { keys: ['args', 'override_args'], expected: 'a list', test: Array.isArray },
  { keys: ['kwargs', 'override_kwargs', 'filter'], expected: 'an object', test: isObject },
  {
    keys: ['priority'],
    expected: 'critical, high, normal or low',
    test: (value) => typeof value === 'string' && ['critical', 'high', 'normal', 'low'].includes(value),
  },
  {
    keys: ['eta'],
    expected: `a time in seconds, at most ${MAX_AHEAD_SECONDS} ahead`,
    test: (value) => Number.isFinite(value) && (value as number) < Date.now() / 1000 + MAX_AHEAD_SECONDS,
  },
  {
    keys: ['delta'],
    expected: 'a whole number from 1 to 1000',
    test: (value) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 1000,
  },
  {
    keys: ['rate'],
    expected: '0, N, N/s, N/m or N/h',
    test: (value) => typeof value === 'string' && /^(0|[1-9]\d{0,8}(\/[smh])?)$/.test(value),
  },
  {
    keys: ['max', 'limit'],
    expected: 'a whole number from 1 on',
    test: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
  },
];

function check(parameters: JsonObject, { keys, expected, test }: Rule): void {
  for (const key of keys) {
    // An own key: what an object inherits was not sent.
    const value = Object.hasOwn(parameters, key) ? parameters[key] : undefined;
    if (value === undefined || value === null || test(value)) continue;
    throw new CommandError('invalid', `Expected \`${key}\` to be ${expected}`);
  }
}

/** Bytes; ten thousand ids with their names are more than what anything else needs. */
const MAX_PARAMETERS = 512 * 1024;
const MAX_SELECTION = 4 * 1024 * 1024;

/** Size and shape of what a brain sent, before anything of it reaches a broker. Throws a `CommandError`. */
export function checkParameters(action: string, parameters: JsonObject): void {
  const most = action === 'bulk_retry' ? MAX_SELECTION : MAX_PARAMETERS;
  if (JSON.stringify(parameters).length > most) {
    throw new CommandError('invalid', `parameters are larger than ${most} bytes`);
  }
  check(parameters, NAMES);
  // Those of schedules have shapes of their own.
  if (action.startsWith('schedule.') && action !== 'schedule.fire') return;
  for (const rule of RULES) check(parameters, rule);
  const ids = (parameters.filter as JsonObject | null | undefined)?.task_ids ?? [];
  if (!Array.isArray(ids) || !ids.every(isName)) {
    throw new CommandError('invalid', `Expected each of \`filter.task_ids\` to be ${NAMES.expected}`);
  }
}
