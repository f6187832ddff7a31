// One table and the small kinds its rows are made of: longer than a file should be, and easier to find in one place.
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { splitPatterns } from './patterns.js';

/** Everything a user can turn. Names are those of the `Agent` options; the environment variable stands in the table. */
export interface Settings {
  token: string;
  hmacSecret: string;
  brainUrl: string;
  projectId: string;
  agentName: string;
  serviceName: string;
  workerRole: string;
  enabledInstrumentations: readonly string[];
  disabledInstrumentations: readonly string[];
  disabled: boolean;
  home: string;
  transport: 'auto' | 'ws' | 'longpoll';
  allowInsecure: boolean;
  thread: boolean;
  delivery: 'auto' | 'complete';
  sampleSuccess: number;
  bufferMaxBytes: number;
  bufferMaxAgeSeconds: number;
  fsync: boolean;
  maxPayloadBytes: number;
  redactionExtraKeyPatterns: readonly string[];
  redactionExtraValuePatterns: readonly string[];
  allowCommands: readonly string[];
  purgeThreshold: number;
  acceptLegacyPurgeToken: boolean;
  heartbeatSeconds: number;
  logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug';
  logFormat: 'text' | 'json';
}

/** Options of `new Agent()`: any of the settings; they win over the environment. */
export type AgentOptions = { readonly [K in keyof Settings]?: Settings[K] | undefined };

interface Setting<T> {
  readonly env: string;
  readonly fallback: T;
  /** One line of help; README and `z4j-bare config` print it. */
  readonly help: string;
  /** What stands for the default in help where the value says too little. */
  readonly shown?: string;
  /** Also read from the file named by `<env>_FILE`. */
  readonly file?: true;
  readonly secret?: true;
  /** The value of an environment variable; throws a `SettingError`. */
  parse(text: string): T;
  /** An option's value; throws a `SettingError`. */
  check(value: unknown): T;
}

/** A setting that cannot be used; the message names it and says what was expected. */
export class SettingError extends Error {
  override readonly name = 'SettingError';
  readonly code = 'Z4J_SETTING';
  /** What of a list can be used: a wrong item takes no other with it. */
  readonly usable: readonly string[] | undefined;
  constructor(message: string, usable?: readonly string[]) {
    super(message);
    this.usable = usable;
  }
}

const expected = (what: string, value: unknown): SettingError =>
  new SettingError(`to be ${what}, got \`${String(value).slice(0, 80)}\` (${typeof value})`);

interface Kind<T> {
  parse(text: string): T;
  check(value: unknown): T;
}

const text = (what = 'a text', test: (value: string) => boolean = () => true): Kind<string> => {
  const check = (value: unknown): string => {
    if (typeof value === 'string' && test(value)) return value;
    throw expected(what, value);
  };
  return { parse: check, check };
};

const yes = new Set(['1', 'true', 'yes', 'on']);
const no = new Set(['0', 'false', 'no', 'off']);

const boolean: Kind<boolean> = {
  parse(value) {
    const word = value.toLowerCase();
    if (yes.has(word)) return true;
    if (no.has(word)) return false;
    throw expected('1, true, yes, on or 0, false, no, off', value);
  },
  check(value) {
    if (typeof value === 'boolean') return value;
    throw expected('true or false', value);
  },
};

const number = (what: string, test: (value: number) => boolean): Kind<number> => {
  const check = (value: unknown): number => {
    if (typeof value === 'number' && test(value)) return value;
    throw expected(what, value);
  };
  return {
    parse: (value) => {
      const parsed = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
      if (test(parsed)) return parsed;
      throw expected(what, value);
    },
    check,
  };
};

const integer = (min: number, max = Number.MAX_SAFE_INTEGER): Kind<number> =>
  number(
    max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`,
    (value) => Number.isInteger(value) && value >= min && value <= max,
  );

const choice = <const T extends string>(...words: readonly T[]): Kind<T> => {
  const check = (value: unknown): T => {
    const word = words.find((candidate) => candidate === value);
    if (word !== undefined) return word;
    throw expected(`one of ${words.join(', ')}`, value);
  };
  return { parse: (value) => check(value.toLowerCase()), check };
};

const list: Kind<readonly string[]> = {
  parse: (value) =>
    value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  check(value) {
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
    throw expected('a list of texts', value);
  },
};

const patterns: Kind<readonly string[]> = {
  parse: (value) => patterns.check(splitPatterns(value)),
  check(value) {
    const items = list.check(value);
    const wrong = new Map<string, string>();
    for (const item of items) {
      try {
        new RegExp(item, 'i');
      } catch (cause) {
        wrong.set(item, (cause as Error).message);
      }
    }
    const usable = items.filter((item) => !wrong.has(item));
    for (const [item, why] of wrong) {
      throw new SettingError(`to be regular expressions, got \`${item}\`: ${why}`, usable);
    }
    return items;
  },
};

/** Goes into a header of HTTP. */
const token = text('printable characters without blanks', (value) => /^[!-~]*$/.test(value));

/** Commands that neither end processes nor need supervision; a purge is guarded by its token. */
export const SAFE_COMMANDS = [
  'submit_task',
  'schedule.fire',
  'retry_task',
  'bulk_retry',
  'cancel_task',
  'requeue_dead_letter',
  'dlq.list',
  'reconcile_task',
  'purge_queue',
  'rate_limit',
  'pool_grow',
  'pool_shrink',
  'add_consumer',
  'cancel_consumer',
  'restart_worker',
  'schedule.*',
] as const;

const actions: Kind<readonly string[]> = {
  parse: (value) => actions.check(list.parse(value)),
  check(value) {
    const items = list.check(value);
    const isKnown = (item: string): boolean =>
      item === 'none' || item.startsWith('schedule.') || (SAFE_COMMANDS as readonly string[]).includes(item);
    const wrong = items.find((item) => !isKnown(item));
    if (wrong === undefined) return items;
    throw new SettingError(
      `to be \`none\` or some of ${SAFE_COMMANDS.join(', ')}, got \`${wrong}\``,
      items.filter(isKnown),
    );
  },
};

type Table = { readonly [K in keyof Settings]: Setting<Settings[K]> };

/** The one table of everything that can be turned. */
export const SETTINGS: Table = {
  token: {
    ...token,
    env: 'Z4J_TOKEN',
    fallback: '',
    shown: 'none: the agent does nothing',
    file: true,
    secret: true,
    help: 'Agent token of the brain, or the whole connection as one URL `https://<token>:<hmac secret>@brain.example/<project>`',
  },
  hmacSecret: {
    ...text(),
    env: 'Z4J_HMAC_SECRET',
    fallback: '',
    shown: 'required',
    file: true,
    secret: true,
    help: 'Project secret as the brain showed it (base64url of 32 bytes)',
  },
  brainUrl: {
    ...text(),
    env: 'Z4J_BRAIN_URL',
    fallback: '',
    shown: 'required',
    help: 'Address of the brain, `https://brain.example` (also http, ws, wss, with or without /ws/agent)',
  },
  projectId: { ...text(), env: 'Z4J_PROJECT_ID', fallback: 'default', help: 'Slug of the project, a label only' },
  agentName: {
    ...text(),
    env: 'Z4J_AGENT_NAME',
    fallback: '',
    shown: 'first label of the host name',
    help: 'Name of this host and of its workers in the dashboard',
  },
  serviceName: {
    ...text(),
    env: 'Z4J_SERVICE_NAME',
    fallback: '',
    shown: "OTEL_SERVICE_NAME, then the name in the application's package.json, then `app`",
    help: 'What this application is, the same for all its replicas; names its schedulers',
  },
  workerRole: {
    ...text('at most 32 characters', (value) => value.length <= 32),
    env: 'Z4J_WORKER_ROLE',
    fallback: 'task',
    help: 'web, task, scheduler, beat or other; shown in the dashboard',
  },
  enabledInstrumentations: {
    ...list,
    env: 'Z4J_ENABLED_INSTRUMENTATIONS',
    fallback: [],
    shown: 'all',
    help: 'Comma list of the libraries to observe: bullmq, agenda, node-cron',
  },
  disabledInstrumentations: {
    ...list,
    env: 'Z4J_DISABLED_INSTRUMENTATIONS',
    fallback: [],
    shown: 'none',
    help: 'Comma list of the libraries to leave alone; wins over the enabled ones',
  },
  disabled: {
    ...boolean,
    env: 'Z4J_DISABLED',
    fallback: false,
    help: 'Switches the agent off: it observes nothing and connects to nothing',
  },
  home: {
    ...text(),
    env: 'Z4J_HOME',
    fallback: join(homedir(), '.z4j'),
    shown: '`~/.z4j`',
    help: 'Folder of the journal and of what must survive a restart',
  },
  transport: {
    ...choice('auto', 'ws', 'longpoll'),
    env: 'Z4J_TRANSPORT',
    fallback: 'auto',
    help: 'WebSocket, HTTP long-poll, or WebSocket with long-poll where a proxy refuses it',
  },
  allowInsecure: {
    ...boolean,
    env: 'Z4J_ALLOW_INSECURE',
    fallback: false,
    help: 'Permits unencrypted connections to hosts other than this one',
  },
  thread: {
    ...boolean,
    env: 'Z4J_THREAD',
    fallback: false,
    help: 'Runs the connection in a worker thread, for hosts that block their event loop',
  },
  delivery: {
    ...choice('auto', 'complete'),
    env: 'Z4J_DELIVERY',
    fallback: 'auto',
    help: 'What to do when the brain takes less than this process makes: `auto` leaves out part of the successes, `complete` keeps everything up to the byte limit',
  },
  sampleSuccess: {
    ...number('a number from 0 to 1', (value) => value >= 0 && value <= 1),
    env: 'Z4J_SAMPLE_SUCCESS',
    fallback: 1,
    shown: 'measured',
    help: 'Fixed share of successful tasks to send, 0 to 1',
  },
  bufferMaxBytes: {
    ...integer(65_536),
    env: 'Z4J_BUFFER_MAX_BYTES',
    fallback: 268_435_456,
    help: 'Limit of the journal in bytes; beyond it the oldest events are dropped and counted',
  },
  bufferMaxAgeSeconds: {
    ...integer(60),
    env: 'Z4J_BUFFER_MAX_AGE_SECONDS',
    fallback: 604_800,
    help: 'Age at which events that could not be sent are dropped and counted, in seconds',
  },
  fsync: {
    ...boolean,
    env: 'Z4J_FSYNC',
    fallback: false,
    help: 'Forces every write of the journal to the disk: survives a power cut too, at the cost of a disk write per turn of the event loop',
  },
  maxPayloadBytes: {
    ...integer(256, 8192),
    env: 'Z4J_MAX_PAYLOAD_BYTES',
    fallback: 8192,
    help: 'Longest text in an event in bytes of UTF-8, its mark of truncation included',
  },
  redactionExtraKeyPatterns: {
    ...patterns,
    env: 'Z4J_REDACTION_EXTRA_KEY_PATTERNS',
    fallback: [],
    shown: 'none',
    help: 'Comma list of regular expressions; values under matching keys are redacted',
  },
  redactionExtraValuePatterns: {
    ...patterns,
    env: 'Z4J_REDACTION_EXTRA_VALUE_PATTERNS',
    fallback: [],
    shown: 'none',
    help: 'Comma list of regular expressions; texts that contain a match are redacted',
  },
  allowCommands: {
    ...actions,
    env: 'Z4J_ALLOW_COMMANDS',
    fallback: SAFE_COMMANDS,
    shown: 'all; none of them ends a process',
    help: 'Comma list of the actions an operator may use, `none` for none',
  },
  purgeThreshold: {
    ...integer(0),
    env: 'Z4J_PURGE_THRESHOLD',
    fallback: 10_000,
    help: 'Deepest queue that may be purged without force',
  },
  acceptLegacyPurgeToken: {
    ...boolean,
    env: 'Z4J_ACCEPT_LEGACY_PURGE_TOKEN',
    fallback: false,
    help: 'Accepts the unkeyed purge token of brains before 1.7',
  },
  heartbeatSeconds: {
    ...integer(1, 60),
    env: 'Z4J_HEARTBEAT_SECONDS',
    fallback: 10,
    help: 'Cadence of the heartbeat until the brain names its own, in seconds',
  },
  logLevel: {
    ...choice('silent', 'error', 'warn', 'info', 'debug'),
    env: 'Z4J_LOG_LEVEL',
    fallback: 'warn',
    help: 'What the agent says on stderr',
  },
  logFormat: { ...choice('text', 'json'), env: 'Z4J_LOG_FORMAT', fallback: 'text', help: 'Shape of those lines' },
};

/** Whoever reads a log or an error is not to read a secret. */
const saidOf = ({ secret }: Setting<unknown>, { message }: SettingError): string =>
  secret ? message.replace(/`.*`/s, '`…`') : message;

function problemOf(setting: Setting<unknown>, cause: SettingError): string {
  const { env, fallback, shown } = setting;
  const found = saidOf(setting, cause).replace(/ \(string\)$/, '');
  const using = cause.usable === undefined ? (shown ?? String(fallback)) : cause.usable.join(', ') || 'none';
  return `Expected ${env} ${found}; ${fallback === '' ? 'it is ignored' : `using ${using}`}`;
}

export interface Configuration {
  readonly settings: Settings;
  /** One sentence each, with the remedy; the default is in force where a value was nonsense. */
  readonly problems: readonly string[];
}

export type Environment = { readonly [name: string]: string | undefined };

/** `https://<token>:<secret>@brain.example/<project>` in place of the token. */
function splitConnectionUrl(settings: Settings): void {
  if (!/^(https?|wss?):\/\//i.test(settings.token)) return;
  const url = new URL(settings.token);
  if (url.username === '') throw new SettingError('to hold a token');
  const project = url.pathname.replace(/^\/+|\/+$/g, '');
  settings.token = token.check(decodeURIComponent(url.username));
  if (url.password !== '') settings.hmacSecret = decodeURIComponent(url.password);
  if (project !== '') settings.projectId = decodeURIComponent(project);
  settings.brainUrl = `${url.protocol}//${url.host}`;
}

function readText(setting: Setting<unknown>, env: Environment): string | undefined {
  const value = env[setting.env]?.trim();
  if (value !== undefined && value !== '') return value;
  const file = setting.file ? env[`${setting.env}_FILE`]?.trim() : undefined;
  if (file === undefined || file === '') return undefined;
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new SettingError(`to be readable from the file ${file} (${setting.env}_FILE): ${(cause as Error).message}`);
  }
}

/**
 * The settings of options and environment, options first. Nonsense in the environment becomes a problem and the
 * default; nonsense in an option throws a `SettingError`, since whoever wrote it is there to see it.
 */
export function readConfiguration(options: AgentOptions = {}, env: Environment = process.env): Configuration {
  const problems: string[] = [];
  const settings = {} as { [key: string]: unknown };
  for (const [key, setting] of Object.entries(SETTINGS) as [keyof Settings, Setting<unknown>][]) {
    const option = options[key];
    try {
      if (option !== undefined) settings[key] = setting.check(option);
      else {
        const value = readText(setting, env);
        settings[key] = value === undefined ? setting.fallback : setting.parse(value);
      }
    } catch (cause) {
      if (!(cause instanceof SettingError)) throw cause;
      if (option !== undefined) throw new SettingError(`Expected \`${key}\` ${saidOf(setting, cause)}`);
      problems.push(problemOf(setting, cause));
      settings[key] = cause.usable ?? setting.fallback;
    }
  }
  const result = settings as unknown as Settings;
  try {
    splitConnectionUrl(result);
  } catch {
    problems.push('Expected Z4J_TOKEN to be a token or a URL `https://<token>:<hmac secret>@brain.example/<project>`');
    result.token = '';
  }
  return { settings: result, problems };
}

/**
 * What keeps the agent from connecting, one sentence with the remedy; undefined when nothing does. One of `problems`
 * where that is why something is missing.
 */
export function missingSetting(
  { token, hmacSecret, brainUrl }: Settings,
  problems: readonly string[] = [],
): string | undefined {
  const problem = (env: string): string | undefined => problems.find((text) => text.startsWith(`Expected ${env} `));
  if (token === '' && problem('Z4J_TOKEN')) return problem('Z4J_TOKEN');
  if (hmacSecret === '' && problem('Z4J_HMAC_SECRET')) return problem('Z4J_HMAC_SECRET');
  if (token === '')
    return 'Z4J_TOKEN is not set: mint an agent in the dashboard (Agents, New agent) and pass its token';
  if (brainUrl === '')
    return 'Z4J_BRAIN_URL is not set: pass the address of the brain, for example https://brain.example';
  if (hmacSecret === '') return 'Z4J_HMAC_SECRET is not set: pass the secret the dashboard showed beside the token';
  return undefined;
}
