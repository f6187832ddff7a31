import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  BACKOFF,
  CLOSE_CODES,
  canonical,
  closeCode,
  decodeSecret,
  FRAME_OVERHEAD_BYTES,
  FrameReader,
  FrameWriter,
  type HeartbeatPayload,
  type HelloPayload,
  hello,
  isObject,
  ProtocolError,
  parseInstant,
  projectSecret,
  type ReadObject,
  ReplayGuard,
  readHello,
  readHelloAck,
  readJson,
  Signer,
  sameToken,
} from '../../../src/protocol/index.js';

const NOW = Date.UTC(2026, 9, 4, 12, 0, 0, 123);
const now = (): number => NOW;
const secret = projectSecret('0123456789abcdef0123456789abcdef', '11111111-2222-3333-4444-555555555555');
const signer = new Signer(secret, {
  agentId: 'aaaaaaaa-0000-4000-8000-000000000001',
  projectId: '11111111-2222-3333-4444-555555555555',
  sessionId: 'cccccccc-0000-4000-8000-000000000003',
});

function object(raw: Buffer | string): ReadObject {
  const value = readJson(raw);
  if (!isObject(value)) throw new Error('not an object');
  return value;
}

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return 'nothing';
}

const heartbeat: HeartbeatPayload = {
  buffer_size: 0,
  last_flush_at: null,
  dropped_events: 0,
  adapter_health: { 'bullmq.queue_depths': '{"émail":3}' },
  telemetry_loss: null,
};

const greeting: HelloPayload = {
  protocol_version: '2',
  agent_version: '1.13.0+node.0.1.0',
  framework: 'node',
  engines: ['bullmq'],
  schedulers: [],
  capabilities: { bullmq: ['cancel_task'] },
  host: { name: 'web-01' },
  worker_id: 'node-web-01-mailer-0',
  worker_role: null,
  worker_pid: 4242,
  worker_started_at: '2026-11-23T17:15:37.900Z',
  runtime_features: [],
};

describe('writing', () => {
  it('signs as in the worked example of the protocol', () => {
    const text =
      '"id":"hb_1","nonce":"AAAAAAAAAAAAAAAAAAAAAA","payload":{"adapter_health":{"bullmq.queue_depths":"{\\"émail\\":3}"},"buffer_size":0,"dropped_events":0,"last_flush_at":null}';
    const hmac = signer.sign(text, ',"seq":1', ',"ts":"2026-10-04T12:00:00.123Z","type":"heartbeat","v":2');
    expect(hmac).toBe('58afcce4ee9fe25a932f4d2de0198620df5152e5b6a0523bf826082290c8d3b1');
  });

  it('gives frames that verify, with rising seq and fresh nonces', () => {
    const writer = new FrameWriter(signer, { now });
    const reader = new FrameReader(signer, { now });
    const records = [{ a: 1, é: '\u{1f600}' }, { b: [1e-7, 2.5] }].map((each) => Buffer.from(canonical(each)));
    const frames = [
      writer.eventBatch('ev_1', records),
      writer.eventBatch('ev_2', []),
      writer.heartbeat(heartbeat),
      writer.agentStatus({
        auth_failure_streak: 0,
        protocol_failure_streak: 0,
        connection_failure_streak: 2,
        last_successful_connect_at: null,
        current_session_age_seconds: 1.9,
        buffer_depth: 2e7,
        buffer_oldest_age_seconds: null,
        agent_version: '1.13.0',
        protocol_version: '2',
        engines: [],
        schedulers: [],
        telemetry_loss: null,
      }),
      writer.commandAck('c1', { delivery_claim_token: 't' }),
      writer.commandAck('c2'),
      writer.commandResult('c1', { status: 'failed', result: undefined, error: `${'x'.repeat(8191)}\u{1f600}` }),
    ].map((raw) => reader.verify(raw));
    expect(frames.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(frames.map(({ nonce }) => nonce)).size).toBe(frames.length);
    expect(frames.map(({ ts }) => ts)).toEqual(frames.map(() => '2026-10-04T12:00:00.123Z'));
    expect(frames.map(({ payload }) => canonical(payload)).slice(0, 2)).toEqual([
      '{"events":[{"a":1,"é":"\u{1f600}"},{"b":[1e-07,2.5]}]}',
      '{"events":[]}',
    ]);
    expect(frames[3]?.payload).toMatchObject({ buffer_depth: 1e7, current_session_age_seconds: 1 });
    expect(frames.slice(4).map(({ payload }) => canonical(payload))).toEqual([
      '{"delivery_claim_token":"t"}',
      '{}',
      `{"error":"${'x'.repeat(8191)}\ufffd","result":null,"status":"failed"}`,
    ]);
  });

  it('signs the wire text as it stands', () => {
    const wire = object(new FrameWriter(signer, { now }).heartbeat(heartbeat));
    const { hmac, ...rest } = wire;
    const { agentId, projectId, sessionId } = signer.ids;
    const whole = canonical({ ...rest, agent_id: agentId, project_id: projectId, session_id: sessionId });
    expect(createHmac('sha256', secret).update(whole).digest('hex')).toBe(hmac);
  });

  it('refuses what is too large or misnamed and uses no number up', () => {
    const writer = new FrameWriter(signer, { now, maxBytes: 8192 });
    const record = Buffer.alloc(8192 - FRAME_OVERHEAD_BYTES, 0x20);
    expect(code(() => writer.eventBatch('ev', [record, record]))).toBe('too_large');
    expect(code(() => writer.eventBatch('ev', new Array(5001).fill(Buffer.from('{}'))))).toBe('too_large');
    expect(code(() => writer.eventBatch('x'.repeat(65), []))).toBe('frame');
    expect(code(() => writer.eventBatch('', []))).toBe('frame');
    expect(code(() => writer.commandResult('c', { status: 'success', result: '\ud800', error: null }))).toBe(
      'unsignable',
    );
    const wire = writer.eventBatch('\u{1f600}'.repeat(32), [Buffer.concat([Buffer.from('1'), record])]);
    expect(object(wire).seq).toBe(1);
    expect(wire.length).toBeLessThanOrEqual(8192);
  });

  it('keeps counters within what a brain accepts', () => {
    const odd = { ...heartbeat, buffer_size: Number.NaN, dropped_events: 1e9 };
    expect(object(new FrameWriter(signer).heartbeat(odd)).payload).toMatchObject({
      buffer_size: 0,
      dropped_events: 1e7,
    });
  });
});

describe('hello', () => {
  it('is read as it was written', () => {
    const raw = hello(greeting, NOW);
    expect(JSON.parse(raw.toString())).toMatchObject({ v: 2, type: 'hello', ts: '2026-10-04T12:00:00.123Z' });
    expect(readHello(raw).payload).toEqual(greeting);
  });

  it.each<[string, object]>([
    ['agent_version', { agent_version: 'x'.repeat(41) }],
    ['protocol_version', { protocol_version: 2 }],
    ['engines', { engines: new Array(65).fill('e') }],
    ['engines', { engines: [1] }],
    ['worker_id', { worker_id: 'x'.repeat(129) }],
    ['framework', { framework: 'x'.repeat(41) }],
    ['capabilities.bullmq', { capabilities: { bullmq: 'all' } }],
    ['host', { host: [] }],
    ['worker_pid', { worker_pid: -1 }],
    ['worker_pid', { worker_pid: 1.5 }],
    ['worker_started_at', { worker_started_at: 'today' }],
  ])('refuses a wrong %s before the brain does', (name, over) => {
    const run = (): Buffer => hello({ ...greeting, ...over } as HelloPayload);
    expect(code(run)).toBe('hello');
    expect(run).toThrow(`\`${name}\``);
  });

  it('reads the ack, its clock and sensible defaults', () => {
    const payload = { protocol_version: '2', brain_version: '1.13.0', agent_id: 'a', project_id: 'p', session_id: 's' };
    const ack = (over: object, ts: unknown = '2026-10-04T12:00:01.000500+00:00'): string =>
      JSON.stringify({ v: 2, type: 'hello_ack', id: 'h', ts, payload: { ...payload, ...over } });
    expect(readHelloAck(ack({ heartbeat_interval_seconds: 5, max_frame_size_bytes: 65_536 }))).toEqual({
      payload: { ...payload, heartbeat_interval_seconds: 5, max_frame_size_bytes: 65_536 },
      brainTime: Date.UTC(2026, 9, 4, 12, 0, 1),
    });
    expect(readHelloAck(ack({ heartbeat_interval_seconds: 0, max_frame_size_bytes: '1' }, null))).toEqual({
      payload: { ...payload, heartbeat_interval_seconds: 10, max_frame_size_bytes: 1_048_576 },
      brainTime: undefined,
    });
    expect(code(() => readHelloAck(ack({ session_id: '' })))).toBe('payload');
    expect(code(() => readHelloAck(ack({ agent_id: 7 })))).toBe('payload');
    expect(code(() => readHelloAck(hello(greeting)))).toBe('type');
    expect(code(() => readHelloAck('{"v":3}'))).toBe('version');
    expect(code(() => readHello(ack({})))).toBe('type');
  });
});

describe('reading', () => {
  const write = (type: string, payload: object): Buffer => new FrameWriter(signer, { now }).frame(type, 'id', payload);
  const read = (raw: Buffer | string) => new FrameReader(signer, { now }).read(raw);

  it('gives commands with ordinary and with exact numbers', () => {
    const wire = write('command', {
      action: 'retry_task',
      target: { type: 'task', id: 'bullmq:mail:9', engine: 'bullmq' },
      parameters: readJson('{"eta":1795454388.134717,"n":9007199254740993,"one":1.0}'),
      timeout_seconds: 30,
      issued_by: null,
      delivery_claim_token: null,
    });
    const frame = read(wire);
    expect(frame).toMatchObject({
      type: 'command',
      id: 'id',
      payload: {
        action: 'retry_task',
        target: { type: 'task', id: 'bullmq:mail:9', engine: 'bullmq', scheduler: null },
        parameters: { eta: 1795454388.134717, n: 9007199254740992, one: 1 },
        timeout_seconds: 30,
      },
    });
    expect(frame.type === 'command' && canonical(frame.exact)).toBe(
      '{"eta":1795454388.134717,"n":9007199254740993,"one":1.0}',
    );
  });

  it('gives acks, complaints, and frames of kinds to come', () => {
    const ack = { acked_id: 'ev_1', received: 3, accepted: 2, rejected: 1 };
    expect(read(write('event_batch_ack', ack))).toEqual({ type: 'event_batch_ack', id: 'id', payload: ack });
    expect(read(write('error', { code: 'x', message: 'm', fatal: true }))).toMatchObject({ payload: { fatal: true } });
    expect(read(write('novel', { a: 1.5 }))).toEqual({ type: 'other', id: 'id', name: 'novel', payload: { a: 1.5 } });
  });

  it.each<[string, object]>([
    ['event_batch_ack', { acked_id: 'e', received: '3', accepted: 0, rejected: 0 }],
    ['event_batch_ack', { acked_id: 'e', received: -1, accepted: 0, rejected: 0 }],
    ['event_batch_ack', { received: 0, accepted: 0, rejected: 0 }],
    ['command', { action: 1, target: { type: 't' } }],
    ['command', { action: 'a', target: 't' }],
    ['command', { action: 'a', target: { type: 't' }, parameters: [] }],
    ['command', { action: 'a', target: { type: 't', id: 5 } }],
    ['error', {}],
  ])('refuses a signed %s with wrong types: %j', (type, payload) => {
    expect(code(() => read(write(type, payload)))).toBe('payload');
  });

  it('names what is wrong with an envelope', () => {
    const wire = JSON.parse(write('error', { code: 'x' }).toString()) as Record<string, unknown>;
    const refused = (over: object): string => code(() => read(JSON.stringify({ ...wire, ...over })));
    expect(refused({ v: 1 })).toBe('version');
    expect(refused({ type: null })).toBe('frame');
    expect(refused({ payload: [] })).toBe('frame');
    expect(refused({ id: '' })).toBe('frame');
    expect(refused({ extra: 1 })).toBe('signature');
    expect(refused({ hmac: undefined })).toBe('signature');
    expect(refused({ hmac: String(wire.hmac).toUpperCase() })).toBe('signature');
    expect(refused({})).toBe('nothing');
    expect(code(() => read('[]'))).toBe('frame');
    expect(code(() => new FrameReader(signer, { now, maxBytes: 10 }).read('{"v":2     }'))).toBe('too_large');
  });
});

describe('replay guard', () => {
  const ts = new Date(NOW).toISOString();

  it('takes rising numbers, gaps included, and refuses the rest without remembering it', () => {
    const guard = new ReplayGuard();
    const accept = (seq: unknown, nonce: unknown, at: unknown = ts) =>
      code(() => guard.accept({ seq, nonce, ts: at }, NOW));
    expect(accept(0, 'a')).toBe('replay');
    expect(accept(1.5, 'a')).toBe('replay');
    expect(accept(2n ** 60n, 'a')).toBe('replay');
    expect(accept(1, 'a')).toBe('nothing');
    expect(accept(1, 'b')).toBe('replay');
    expect(accept(9, 'a')).toBe('replay');
    expect(accept(9, 'b', '2026-10-04T12:00:00')).toBe('replay');
    expect(accept(9, '')).toBe('replay');
    expect(accept(9, 'b')).toBe('nothing');
    expect(accept(8, 'c')).toBe('replay');
  });

  it('keeps clocks within 60 s, in any offset', () => {
    const at = (ms: number): string =>
      code(() => new ReplayGuard().accept({ seq: 1, nonce: 'a', ts: new Date(NOW + ms).toISOString() }, NOW));
    expect([at(-60_000), at(60_000), at(-60_001), at(60_001)]).toEqual(['nothing', 'nothing', 'replay', 'replay']);
    expect(parseInstant('2026-10-04T17:30:00.123456789+05:30')).toEqual({ ms: NOW, micros: 123_456 });
    for (const naive of [
      '2026-10-04',
      '2026-10-04T12:00:00',
      '2026-13-04T12:00:00Z',
      '2026-02-30T12:00:00Z',
      'x',
      '',
    ]) {
      expect(parseInstant(naive), naive).toBeUndefined();
    }
  });

  it('forgets a nonce after 180 s or 4096 others', () => {
    const guard = new ReplayGuard();
    const accept = (seq: number, nonce: string, ms: number) =>
      code(() => guard.accept({ seq, nonce, ts: new Date(NOW + ms).toISOString() }, NOW + ms));
    expect(accept(1, 'a', 0)).toBe('nothing');
    expect(accept(2, 'a', 180_000)).toBe('replay');
    expect(accept(2, 'a', 180_001)).toBe('nothing');
    for (let i = 0; i < 4096; i++) accept(3 + i, `n${i}`, 180_001);
    expect(accept(5000, 'a', 180_001)).toBe('nothing');
  });
});

describe('secrets and codes', () => {
  it('decodes a secret with or without padding, url-safe or not', () => {
    const bytes = Buffer.alloc(32, 0xfb);
    for (const text of [bytes.toString('base64url'), bytes.toString('base64'), ` ${bytes.toString('base64url')}\n`]) {
      expect(decodeSecret(text).equals(bytes)).toBe(true);
    }
    for (const text of ['', 'short', 'no spaces allowed', bytes.toString('hex'), `${bytes.toString('base64')}AAAA`]) {
      expect(code(() => decodeSecret(text))).toBe('secret');
      if (text !== '') expect(() => decodeSecret(text)).not.toThrow(text);
    }
    expect(code(() => projectSecret('m', 'default'))).toBe('secret');
  });

  it('compares tokens', () => {
    expect([sameToken('ab', 'ab'), sameToken('ab', 'ac'), sameToken('ab', 'abc'), sameToken('ab', null)]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  it('knows what to do after every close', () => {
    expect(Object.keys(CLOSE_CODES).map(Number)).toEqual([
      1000, 1001, 1006, 1011, 1012, 4002, 4003, 4400, 4401, 4403, 4408, 4426, 4427, 4429,
    ]);
    expect(closeCode(4403)).toMatchObject({ reaction: 'auth', first: 10_000, max: 600_000 });
    expect(closeCode(4999)).toMatchObject({ reaction: 'connection', ...BACKOFF.connection });
  });
});
