import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { freePort, waitFor } from './net.js';
import { brainProgram } from './provision.mjs';
import { type Server, startServer } from './server.js';

const ADMIN = { email: 'admin@example.com', password: 'Tr0ub4dor-horse-77' };

/** Plain data that crosses from a global setup to the tests. */
export interface BrainAddress {
  readonly url: string;
  /** `Cookie` header of the administrator. */
  readonly cookie: string;
  readonly csrf: string;
}

/** What an agent needs to connect, and its environment variables. */
export interface MintedAgent {
  readonly agentId: string;
  readonly projectId: string;
  readonly token: string;
  readonly secret: string;
  readonly env: Readonly<Record<'Z4J_TOKEN' | 'Z4J_HMAC_SECRET' | 'Z4J_BRAIN_URL' | 'Z4J_PROJECT_ID', string>>;
}

/** A row of a REST answer; protocol.md §10 names the fields. */
// biome-ignore lint/suspicious/noExplicitAny: the answers of a foreign server, checked by the assertions on them.
export type Row = Record<string, any>;

export type CommandName =
  | 'retry-task'
  | 'cancel-task'
  | 'requeue-dead-letter'
  | 'bulk-retry'
  | 'purge-queue'
  | 'restart-worker'
  | 'pool-resize'
  | 'add-consumer'
  | 'cancel-consumer'
  | 'rate-limit';

/** One project of a live brain over REST, as its administrator. */
export interface BrainProject {
  readonly url: string;
  readonly slug: string;
  /** Any call below `/api/v1`; repeats while the brain answers 429; other refusals throw with the body. */
  readonly rest: Rest;
  mintAgent(name?: string): Promise<MintedAgent>;
  agent(agentId: string): Promise<Row>;
  agentWorkers(): Promise<Row[]>;
  tasks(query?: Readonly<Record<string, string | number>>): Promise<Row[]>;
  /** Undefined when the brain has no such row. */
  task(engine: string, id: string): Promise<Row | undefined>;
  events(engine: string, taskId: string): Promise<Row[]>;
  workers(): Promise<Row[]>;
  queues(): Promise<Row[]>;
  schedules(): Promise<Row[]>;
  deadLetters(engine: string): Promise<Row>;
  /** Issues a command and waits until it is no longer pending or dispatched. */
  command(name: CommandName, body: object, timeout?: number): Promise<Row>;
  /** Everything that REST shows of this project, as text: to look for what must not be there. */
  everything(): Promise<string>;
}

export interface Rest {
  (method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<Row>;
  get(path: string): Promise<Row>;
  post(path: string, body: object): Promise<Row>;
}

export interface Brain extends BrainAddress {
  readonly port: number;
  readonly pid: number;
  output(): string;
  signal(signal: NodeJS.Signals): void;
  /** A project of its own, so that tests of one brain do not see each other. */
  project(name?: string): Promise<BrainProject>;
  /** Ends the process and keeps the data: SIGTERM (default) or SIGKILL. */
  stop(options?: { readonly signal?: NodeJS.Signals }): Promise<void>;
  /** Starts it again on the same port and data. */
  start(): Promise<void>;
  /** Ends it and removes its data. */
  dispose(): Promise<void>;
}

/** Whether this machine can run a brain; without Python it cannot. */
export const hasBrain = (): boolean => brainProgram() !== undefined;

export class RestError extends Error {
  override readonly name = 'RestError';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A brain counts bulk actions by address, ten a minute: where the loopback interface has more than one, another helps. */
function anotherAddress(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  const [a, b, c] = randomBytes(3);
  return `127.${a}.${b}.${Math.max(c ?? 0, 2)}`;
}

interface Answer {
  readonly status: number;
  readonly retryAfter: number;
  readonly text: string;
}

function send(
  address: string,
  localAddress: string | undefined,
  options: { readonly method: string; readonly headers: Record<string, string>; readonly body: string | undefined },
): Promise<Answer> {
  const { method, headers, body } = options;
  return new Promise((resolve, reject) => {
    const asked = request(address, { method, headers, ...(localAddress && { localAddress }) }, async (response) => {
      try {
        const text = await readText(response);
        resolve({ status: response.statusCode ?? 0, retryAfter: Number(response.headers['retry-after'] ?? 1), text });
      } catch (error) {
        reject(error);
      }
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

function createRest({ url, cookie, csrf }: BrainAddress): Rest {
  let localAddress = anotherAddress();
  const call = async (method: string, path: string, body?: object): Promise<Row> => {
    const headers: Record<string, string> = { cookie, 'x-csrf-token': csrf };
    if (body !== undefined) headers['content-type'] = 'application/json';
    for (let attempt = 1; ; attempt++) {
      const options = { method, headers, body: body && JSON.stringify(body) };
      const { status, retryAfter, text } = await send(`${url}/api/v1${path}`, localAddress, options);
      if (status === 429 && attempt < 60) {
        localAddress = anotherAddress();
        if (localAddress === undefined) {
          await new Promise((resolve) => setTimeout(resolve, Math.min(retryAfter, 5) * 1000));
        }
        continue;
      }
      // Its one SQLite writer was busy for too long: the call was rolled back and left nothing.
      if (status === 500 && text.includes('internal_error') && attempt < 4) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        continue;
      }
      if (status < 200 || status > 299) throw new RestError(status, `${method} ${path}: ${status} ${text}`);
      return text === '' ? {} : (JSON.parse(text) as Row);
    }
  };
  return Object.assign(call, {
    get: (path: string) => call('GET', path),
    post: (path: string, body: object) => call('POST', path, body),
  });
}

/** Logs in as the administrator. */
export async function login(url: string): Promise<BrainAddress> {
  const response = await fetch(`${url}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(ADMIN),
  });
  if (!response.ok) throw new RestError(response.status, `login: ${response.status} ${await response.text()}`);
  const cookies = response.headers.getSetCookie().map((header) => header.split(';', 1)[0] ?? '');
  const csrf = cookies.find((cookie) => cookie.startsWith('z4j_csrf='))?.slice('z4j_csrf='.length) ?? '';
  return { url, cookie: cookies.join('; '), csrf };
}

/** A new project of a brain that runs already. */
export async function createProject(address: BrainAddress, name = 'test'): Promise<BrainProject> {
  const slug = `${name}-${randomBytes(4).toString('hex')}`;
  const rest = createRest(address);
  await rest.post('/projects', { slug, name: slug });
  return projectOf(address, slug);
}

/** A project by its slug: `default` is there from the start. */
export function projectOf(address: BrainAddress, slug: string): BrainProject {
  const rest = createRest(address);
  const base = `/projects/${slug}`;
  const items = async (path: string): Promise<Row[]> => {
    const answer = await rest.get(path);
    return Array.isArray(answer) ? answer : answer.items;
  };
  const queryOf = (query: Readonly<Record<string, string | number>>): string =>
    new URLSearchParams(Object.entries(query).map(([key, value]): [string, string] => [key, `${value}`])).toString();
  const self: BrainProject = {
    url: address.url,
    slug,
    rest,
    async mintAgent(name = 'agent') {
      const { agent, token, hmac_secret: secret } = await rest.post(`${base}/agents`, { name });
      const env = { Z4J_TOKEN: token, Z4J_HMAC_SECRET: secret, Z4J_BRAIN_URL: address.url, Z4J_PROJECT_ID: slug };
      return { agentId: agent.id, projectId: agent.project_id, token, secret, env };
    },
    async agent(agentId) {
      const row = (await items(`${base}/agents`)).find(({ id }) => id === agentId);
      if (!row) throw new Error(`The brain has no agent ${agentId}`);
      return row;
    },
    agentWorkers: () => items(`${base}/agent-workers`),
    async tasks(query = {}) {
      const all: Row[] = [];
      let cursor: string | null = null;
      do {
        const page = await rest.get(`${base}/tasks?${queryOf({ limit: 200, ...query, ...(cursor && { cursor }) })}`);
        all.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor);
      return all;
    },
    async task(engine, id) {
      try {
        return await rest.get(`${base}/tasks/${engine}/${encodeURIComponent(id)}`);
      } catch (error) {
        if (error instanceof RestError && error.status === 404) return undefined;
        throw error;
      }
    },
    events: (engine, taskId) => items(`${base}/events?${queryOf({ engine, task_id: taskId, limit: 200 })}`),
    workers: () => items(`${base}/workers`),
    queues: () => items(`${base}/queues`),
    schedules: () => items(`${base}/schedules`),
    deadLetters: (engine) => rest.get(`${base}/dead-letters?${queryOf({ engine })}`),
    async command(name, body, timeout = 20_000) {
      const issued = await rest.post(`${base}/commands/${name}`, body);
      let row = issued;
      await waitFor(
        async () => {
          row = await rest.get(`${base}/commands/${issued.id}`);
          return !['pending', 'dispatched'].includes(row.status);
        },
        { timeout, interval: 100, what: () => `an answer to ${name}: ${JSON.stringify(row)}` },
      );
      return row;
    },
    async everything() {
      const tasks = await self.tasks();
      const details = await Promise.all(
        tasks.flatMap(({ engine, task_id: id }) => [self.task(engine, id), self.events(engine, id)]),
      );
      const lists = ['agents', 'agent-workers', 'workers', 'queues', 'schedules', 'commands'];
      const rest_ = await Promise.all(lists.map((list) => rest.get(`${base}/${list}`)));
      return JSON.stringify([tasks, details, rest_]);
    },
  };
  return self;
}

/**
 * A live brain on loopback with SQLite in a temporary folder, an administrator and the project `default`. Takes about
 * ten seconds. It ends with this process.
 */
export async function startBrain(options: { readonly env?: Readonly<Record<string, string>> } = {}): Promise<Brain> {
  const program = brainProgram();
  if (program === undefined) throw new Error('No brain is installed: run `node test/support/provision.mjs brain`');
  const home = await mkdtemp(join(tmpdir(), 'z4j-brain-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  // Nothing of our own environment: the agent reads variables of the same names.
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    LANG: 'C.UTF-8',
    Z4J_HOME: home,
    Z4J_BOOTSTRAP_ADMIN_EMAIL: ADMIN.email,
    Z4J_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
    ...options.env,
  };
  const serve = ['serve', '--host', '127.0.0.1', '--port', `${port}`, '--workers', '1'];
  let server: Server;
  const start = async (): Promise<void> => {
    server = await startServer(program, serve, { cwd: home, env, ready: /Uvicorn running on/, timeout: 90_000 });
  };
  const dispose = async (): Promise<void> => {
    await server?.stop('SIGKILL');
    await rm(home, { recursive: true, force: true });
  };
  try {
    await start();
    const address = await login(url);
    return {
      ...address,
      port,
      get pid() {
        return server.pid;
      },
      output: () => server.output(),
      signal: (signal) => server.signal(signal),
      project: (name) => createProject(address, name),
      stop: ({ signal = 'SIGTERM' } = {}) => server.stop(signal),
      start,
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}
