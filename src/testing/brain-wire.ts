import { randomUUID, timingSafeEqual } from 'node:crypto';
import {
  FrameWriter,
  PROTOCOL_VERSION,
  ReplayGuard,
  readHello as readAnyHello,
  type SessionIds,
  Signer,
  verifyFrame,
} from '../protocol/index.js';

/** A frame of an agent that passed every check a brain makes. */
export interface AgentFrame {
  readonly type: string;
  readonly id: string;
  readonly payload: { readonly [key: string]: unknown };
}

/** Why a brain closes the connection. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: number;
  constructor(code: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const KNOWN_TYPES = new Set(['event_batch', 'heartbeat', 'command_ack', 'command_result', 'agent_status']);
const IGNORED_TYPES = new Set(['registry_delta', 'error', 'hello', 'event_batch_ack', 'command', 'hello_ack']);

/** The end of a frame as this package prints it. */
const TAIL = /(,"seq":\d+)(,"ts":"[^"\\]*","type":"[a-z_]+","v":2),"hmac":"([0-9a-f]{64})"\}$/;
const MAX_TAIL = 240;

/** The brain's end of one session: checks and signs in both directions. */
export class BrainWire {
  readonly #signer: Signer;
  readonly #writer: FrameWriter;
  readonly #guard = new ReplayGuard();
  readonly #now: () => number;

  constructor(secret: Uint8Array, ids: SessionIds, now: () => number) {
    this.#signer = new Signer(secret, ids);
    this.#writer = new FrameWriter(this.#signer, { now, maxBytes: 64 * 1024 * 1024 });
    this.#now = now;
  }

  /** Checks in a brain's order: JSON, `v`, type, payload, signature, payload semantics, freshness. */
  read(raw: Buffer): AgentFrame {
    let frame: Record<string, unknown>;
    try {
      frame = JSON.parse(raw.toString('utf8')) as Record<string, unknown>;
    } catch (cause) {
      throw new Refusal(1011, 'not JSON', { cause });
    }
    const { type, payload, id } = frame ?? {};
    if (frame?.v !== 2) throw new Refusal(1011, '`v` is not 2');
    if (typeof type !== 'string' || !(KNOWN_TYPES.has(type) || IGNORED_TYPES.has(type))) {
      throw new Refusal(1011, `unknown type ${String(type)}`);
    }
    if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) {
      throw new Refusal(1011, '`payload` is not an object');
    }
    if (typeof id !== 'string' || id === '' || id.length > 64) throw new Refusal(1011, '`id` is not a short text');
    if (!this.#authentic(raw, frame.hmac)) throw new Refusal(4403, 'wrong signature');
    checkPayload(type, payload as AgentFrame['payload']);
    try {
      this.#guard.accept({ seq: frame.seq, ts: frame.ts, nonce: frame.nonce }, this.#now());
    } catch (cause) {
      throw new Refusal(4403, cause instanceof Error ? cause.message : 'replayed', { cause });
    }
    return { type, id, payload: payload as AgentFrame['payload'] };
  }

  /** A signed frame of the brain. */
  write(type: string, id: string, payload: object): Buffer {
    return this.#writer.frame(type, id, payload);
  }

  /**
   * An agent that prints canonical text is checked over the bytes as they are; only another spelling is parsed and
   * printed again, which is ten times slower.
   */
  #authentic(raw: Buffer, hmac: unknown): boolean {
    if (typeof hmac !== 'string' || !/^[0-9a-f]{64}$/.test(hmac)) return false;
    const match = TAIL.exec(raw.toString('latin1', Math.max(0, raw.length - MAX_TAIL)));
    if (match !== null) {
      const [tail, seq = '', end = '', digits = ''] = match;
      const signature = this.#signer.sign(raw.subarray(1, raw.length - tail.length), seq, end);
      if (timingSafeEqual(Buffer.from(signature), Buffer.from(digits))) return true;
    }
    try {
      verifyFrame(raw, this.#signer);
      return true;
    } catch {
      return false;
    }
  }
}

function checkPayload(type: string, payload: AgentFrame['payload']): void {
  if (type === 'command_result' && payload.status !== 'success' && payload.status !== 'failed') {
    throw new Refusal(1011, '`status` of a result is success or failed');
  }
  const loss = payload.telemetry_loss;
  if (loss !== undefined && loss !== null && !validLoss(loss)) throw new Refusal(1011, 'invalid `telemetry_loss`');
}

function validLoss(loss: unknown): boolean {
  if (typeof loss !== 'object' || loss === null || Array.isArray(loss)) return false;
  const { buffer_id, runtime_id, adapter_events = {}, ...counts } = loss as Record<string, unknown>;
  const name = (value: unknown): boolean => typeof value === 'string' && value.length >= 1 && value.length <= 64;
  const count = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  const required = [
    'capacity_evicted_frames',
    'content_rejected_frames',
    'event_records',
    'command_results',
    'other_frames',
    'unclassified_frames',
  ];
  if (!name(buffer_id) || !name(runtime_id) || !required.every((key) => count(counts[key]))) return false;
  if (typeof adapter_events !== 'object' || adapter_events === null) return false;
  const entries = Object.entries(adapter_events);
  return entries.length <= 32 && entries.every(([key, value]) => key.length <= 64 && count(value));
}

/** What a brain keeps of a hello. */
export interface StubHello {
  readonly agentVersion: string;
  readonly framework: string;
  readonly engines: readonly string[];
  readonly schedulers: readonly string[];
  readonly capabilities: { readonly [name: string]: readonly string[] };
  readonly host: { readonly [key: string]: unknown };
  readonly workerId: string | null;
  readonly workerRole: string | null;
  readonly workerPid: number | null;
  readonly workerStartedAt: string | null;
  readonly runtimeFeatures: readonly string[];
}

/** Reads a hello as strictly as a brain: throws `Refusal` 4400 or 4426. */
export function readHello(raw: Buffer): StubHello {
  try {
    const { payload } = readAnyHello(raw);
    if (payload.protocol_version !== PROTOCOL_VERSION) throw new Refusal(4426, 'protocol_version is not "2"');
    return {
      agentVersion: payload.agent_version,
      framework: payload.framework,
      engines: payload.engines,
      schedulers: payload.schedulers,
      capabilities: payload.capabilities,
      host: payload.host,
      workerId: payload.worker_id,
      workerRole: payload.worker_role,
      workerPid: payload.worker_pid,
      workerStartedAt: payload.worker_started_at,
      runtimeFeatures: payload.runtime_features,
    };
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal(4400, cause instanceof Error ? cause.message : 'the first frame is not a hello', { cause });
  }
}

/** A fresh id of a session, agent or project. */
export const newId = (): string => randomUUID();
