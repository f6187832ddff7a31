import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { missingSetting, readConfiguration, type Settings } from '../config.js';
import { HttpClient, type HttpResponse } from '../link/http.js';
import { openSocket } from '../link/socket.js';
import { brainAddress } from '../link/url.js';
import { decodeSecret, FrameWriter, type SessionIds, Signer } from '../protocol/index.js';
import type { CliOptions } from './options.js';
import { type Finding, report } from './report.js';

const TIMEOUT_MS = 10_000;
/** From here on a brain refuses every frame. */
const MAX_SKEW_S = 60;

/** A step that failed; the steps after it make no sense. */
class Failed extends Error {}

/**
 * Whether the brain can be reached and takes token, secret and clock. Speaks the long-poll API, which changes nothing
 * of what the brain knows of running agents: a hello would.
 */
export async function checkConnection(): Promise<Finding[]> {
  const findings: Finding[] = [];
  const step = async <T>(what: string, run: () => Promise<[T, string]>): Promise<T> => {
    try {
      const [value, detail] = await run();
      findings.push({ outcome: 'ok', what, detail });
      return value;
    } catch (cause) {
      findings.push({ outcome: 'failed', what, detail: (cause as Error).message });
      throw new Failed(what);
    }
  };
  try {
    await steps(step);
  } catch (cause) {
    if (!(cause instanceof Failed)) throw cause;
  }
  return findings;
}

async function steps(step: <T>(what: string, run: () => Promise<[T, string]>) => Promise<T>): Promise<void> {
  const settings = await step('settings', async () => {
    const { settings: read, problems } = readConfiguration();
    const missing = problems[0] ?? missingSetting(read);
    if (missing !== undefined) throw new Error(missing);
    return [read, 'token, secret and address are there'];
  });
  const secret = await step('secret', async () => [decodeSecret(settings.hmacSecret), '32 bytes']);
  const address = await step('address', async () => {
    const found = brainAddress(settings.brainUrl, { allowPlain: settings.allowInsecure });
    return [found, found.shown];
  });
  await step('name', async () => {
    const { address: ip } = await lookup(address.api.hostname.replace(/^\[|\]$/g, ''));
    return [ip, `${address.api.hostname} is ${ip}`];
  });
  await step('network', async () => {
    const socket = await openSocket(address.api, { env: process.env, timeoutMs: TIMEOUT_MS });
    socket.destroy();
    return [
      undefined,
      address.api.protocol === 'https:' ? 'connected, the certificate is valid' : 'connected, not encrypted',
    ];
  });
  const http = new HttpClient(address.api, process.env, TIMEOUT_MS);
  try {
    const nonce = randomBytes(16).toString('base64url');
    const call = (method: 'GET' | 'POST', path: string, body?: string): Promise<HttpResponse> =>
      http.send({
        method,
        url: new URL(`${address.api.href}/${path}`),
        headers: headers(settings, nonce, body !== undefined),
        timeoutMs: TIMEOUT_MS,
        ...(body === undefined ? {} : { body: Buffer.from(body) }),
      });
    const ids = await step('token', async () => readProbe(await call('GET', 'commands?wait=0&max_frames=0'), nonce));
    await step('signature and clock', async () => {
      const frame = new FrameWriter(new Signer(secret, ids)).heartbeat({
        buffer_size: 0,
        last_flush_at: null,
        dropped_events: 0,
        adapter_health: {},
        telemetry_loss: null,
      });
      return readUpload(await call('POST', 'events', JSON.stringify({ frames: [frame.toString()] })));
    });
  } finally {
    http.close();
  }
}

function headers({ token }: Settings, nonce: string, hasBody: boolean): { [name: string]: string } {
  return {
    authorization: `Bearer ${token}`,
    'x-z4j-session-nonce': nonce,
    ...(hasBody ? { 'content-type': 'application/json' } : {}),
  };
}

function readProbe({ status, headers: found }: HttpResponse, sessionId: string): [SessionIds, string] {
  const agentId = found['x-z4j-agent-id'];
  const projectId = found['x-z4j-project-id'];
  if (status === 401) throw new Error('the brain does not know this token: mint an agent and set Z4J_TOKEN anew');
  if (status === 403) throw new Error('the project is archived, or this address is not allowed to connect');
  if (status === 429) throw new Error('too many connections from this address: try again in a minute');
  if (status !== 200) throw new Error(`the brain answered ${status}: is this the address of a z4j brain?`);
  if (typeof agentId !== 'string' || typeof projectId !== 'string') {
    throw new Error('the brain is older than 1.7: its secret cannot be checked this way');
  }
  return [{ agentId, projectId, sessionId }, `agent ${agentId} of project ${projectId}`];
}

function readUpload({ status, headers: found, body }: HttpResponse): [undefined, string] {
  const date = Date.parse(String(found.date));
  const skew = Number.isNaN(date) ? 0 : Math.round((date - Date.now()) / 1000);
  const clock = `the clocks are ${Math.abs(skew)} s apart`;
  if (status === 200 && (JSON.parse(body) as { rejected?: unknown }).rejected === 0)
    return [undefined, `accepted; ${clock}`];
  if (Math.abs(skew) >= MAX_SKEW_S)
    throw new Error(`${clock}, more than the ${MAX_SKEW_S} a brain allows: synchronise them (NTP)`);
  if (status === 409)
    throw new Error(`refused (${clock}): the secret is of another project; copy Z4J_HMAC_SECRET again`);
  throw new Error(`the brain answered ${status}: ${body.slice(0, 200)}`);
}

export async function check({ json }: CliOptions): Promise<number> {
  return report(await checkConnection(), json);
}
