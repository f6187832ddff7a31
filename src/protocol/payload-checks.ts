import { ProtocolError, type ProtocolErrorCode } from './errors.js';
import type { HelloAckPayload, HelloPayload, InboundFrame } from './payloads.js';
import { isObject, plain, type ReadObject, type ReadValue } from './reader.js';
import type { VerifiedFrame } from './signing.js';
import { parseInstant } from './time.js';

function fail(code: ProtocolErrorCode, name: string, expected: string): never {
  throw new ProtocolError(code, `Expected \`${name}\` to be ${expected}`);
}

/** Length in code points, as Python counts it. */
function length(text: string): number {
  return text.length <= 32 ? text.length : [...text].length;
}

function text(code: ProtocolErrorCode, name: string, value: ReadValue | undefined, max = Infinity): string {
  if (typeof value !== 'string') return fail(code, name, 'a text');
  if (value.length > max && length(value) > max) return fail(code, name, `at most ${max} characters`);
  return value;
}

function optionalText(code: ProtocolErrorCode, name: string, value: ReadValue | undefined, max?: number) {
  return value === undefined || value === null ? null : text(code, name, value, max);
}

function names(name: string, value: ReadValue | undefined, max: number): string[] {
  if (!Array.isArray(value)) return fail('hello', name, 'a list');
  if (value.length > max) return fail('hello', name, `a list of at most ${max}`);
  return value.map((item) => text('hello', name, item));
}

/** The limits of a brain (protocol.md §2). Absent lists are empty, other absent members null. */
export function readHelloPayload(payload: ReadObject): HelloPayload {
  const { capabilities = Object.create(null), host = Object.create(null), worker_pid = null } = payload;
  if (!isObject(capabilities)) return fail('hello', 'capabilities', 'an object');
  if (!isObject(host)) return fail('hello', 'host', 'an object');
  if (worker_pid !== null && !(typeof worker_pid === 'number' && worker_pid >= 0 && worker_pid < 2 ** 31)) {
    return fail('hello', 'worker_pid', 'an integer below 2³¹');
  }
  const worker_started_at = optionalText('hello', 'worker_started_at', payload.worker_started_at);
  if (worker_started_at !== null && parseInstant(worker_started_at) === undefined) {
    return fail('hello', 'worker_started_at', 'a time with an offset');
  }
  return {
    protocol_version: text('hello', 'protocol_version', payload.protocol_version, 40),
    agent_version: text('hello', 'agent_version', payload.agent_version, 40),
    framework: text('hello', 'framework', payload.framework, 40),
    engines: names('engines', payload.engines ?? [], 64),
    schedulers: names('schedulers', payload.schedulers ?? [], 64),
    capabilities: Object.fromEntries(
      Object.entries(capabilities).map(([name, tokens]) => [name, names(`capabilities.${name}`, tokens, Infinity)]),
    ),
    host: plain(host),
    worker_id: optionalText('hello', 'worker_id', payload.worker_id, 128),
    worker_role: optionalText('hello', 'worker_role', payload.worker_role, 32),
    worker_pid,
    worker_started_at,
    runtime_features: names('runtime_features', payload.runtime_features ?? [], 64),
  };
}

function inRange(value: ReadValue | undefined, min: number, max: number, fallback: number): number {
  return typeof value === 'number' && value >= min && value <= max ? value : fallback;
}

export function readHelloAckPayload(payload: ReadObject): HelloAckPayload {
  const id = (name: string): string => text('payload', name, payload[name], 256) || fail('payload', name, 'not empty');
  return {
    protocol_version: text('payload', 'protocol_version', payload.protocol_version, 40),
    brain_version: typeof payload.brain_version === 'string' ? payload.brain_version : '',
    agent_id: id('agent_id'),
    project_id: id('project_id'),
    session_id: id('session_id'),
    heartbeat_interval_seconds: inRange(payload.heartbeat_interval_seconds, 1, 3600, 10),
    max_frame_size_bytes: inRange(payload.max_frame_size_bytes, 8192, 2 ** 30, 1_048_576),
  };
}

function count(name: string, value: ReadValue | undefined): number {
  return typeof value === 'number' && value >= 0 ? value : fail('payload', name, 'a count');
}

/** A verified frame of the brain by its kind. Throws `ProtocolError` `payload`. */
export function readInbound({ type, id, payload }: VerifiedFrame): InboundFrame {
  switch (type) {
    case 'event_batch_ack':
      return {
        type,
        id,
        payload: {
          acked_id: text('payload', 'acked_id', payload.acked_id, 64),
          received: count('received', payload.received),
          accepted: count('accepted', payload.accepted),
          rejected: count('rejected', payload.rejected),
        },
      };
    case 'command':
      return readCommand(id, payload);
    case 'error':
      return {
        type,
        id,
        payload: {
          code: text('payload', 'code', payload.code),
          message: optionalText('payload', 'message', payload.message) ?? '',
          fatal: payload.fatal === true,
        },
      };
    default:
      return { type: 'other', id, name: type, payload: plain(payload) };
  }
}

function readCommand(id: string, payload: ReadObject): InboundFrame {
  const { target, parameters = Object.create(null), timeout_seconds } = payload;
  if (!isObject(target)) return fail('payload', 'target', 'an object');
  if (!isObject(parameters)) return fail('payload', 'parameters', 'an object');
  return {
    type: 'command',
    id,
    payload: {
      action: text('payload', 'action', payload.action, 200),
      target: {
        type: text('payload', 'target.type', target.type, 200),
        id: optionalText('payload', 'target.id', target.id),
        engine: optionalText('payload', 'target.engine', target.engine),
        scheduler: optionalText('payload', 'target.scheduler', target.scheduler),
      },
      parameters: plain(parameters),
      timeout_seconds: inRange(timeout_seconds, 1, 86_400, 60),
      issued_by: optionalText('payload', 'issued_by', payload.issued_by),
      delivery_claim_token: optionalText('payload', 'delivery_claim_token', payload.delivery_claim_token),
    },
    exact: parameters,
  };
}
