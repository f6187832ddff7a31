/** Random numbers below 1 that depend on the seed only (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

const NOW = Date.UTC(2026, 10, 24, 12);
const IDS = { agentId: 'agent-1', projectId: 'project-1', sessionId: 'session-1' };
const WORDS = ['', 'a', '__proto__', 'constructor', 'toString', 'é\u{1f600}', '\uffff', '9', '10', 'hmac', 'agent_id'];
const NUMBERS = [
  '0',
  '-0',
  '-0.0',
  '1.0',
  '1e5',
  '1e400',
  '-1e400',
  '9007199254740993',
  '1e-400',
  `1${'0'.repeat(400)}`,
];
const SCALARS = ['null', 'true', 'false', '"text"', '"\\ud800"', '"\\ud83d\\ude00"', ...NUMBERS];
/** What can be signed. */
const TAME = SCALARS.filter((scalar) => !/ud800|e400|0{400}/.test(scalar) || scalar === '1e-400');
const GARBAGE = [
  '',
  ' ',
  '{',
  '[',
  '"',
  '{}',
  '[]',
  'null',
  '1',
  '"x"',
  'NaN',
  '-Infinity',
  '\ufeff{}',
  '{"v":2',
  '{"v":2}}',
];

/** JSON text of a random value. */
function value({ next, pick, scalars }, depth) {
  const kind = depth > 4 ? 0 : next();
  if (kind < 0.6) return pick(scalars);
  const items = Array.from({ length: Math.floor(next() * 4) }, () => value({ next, pick, scalars }, depth + 1));
  if (kind < 0.8) return `[${items.join(',')}]`;
  return `{${items.map((item) => `${JSON.stringify(pick(WORDS))}:${item}`).join(',')}}`;
}

function nested(next, pick) {
  const depth = pick([2, 150, 199, 201, 5_000, 100_000]);
  const open = next() < 0.5 ? '[' : '{"a":';
  const close = open === '[' ? ']' : '}';
  return open.repeat(depth) + (next() < 0.7 ? `1${close.repeat(depth)}` : '');
}

/** Feeds hostile frames to a reader; throws on the first one that is not answered as it must be. */
export function fuzz(api, { seed, frames }) {
  const { canonical, FrameReader, ProtocolError, readJson, Signer } = api;
  const next = random(seed);
  const pick = (list) => list[Math.floor(next() * list.length)];
  const wild = { next, pick, scalars: SCALARS };
  const tame = { next, pick, scalars: TAME };
  const signer = new Signer(Buffer.alloc(32, 7), IDS);
  const now = () => NOW;
  let reader = new FrameReader(signer, { now });
  let seq = 0;

  const members = (over) => ({
    v: '2',
    type: pick(['"command"', '"event_batch_ack"', '"error"', '"novel"']),
    id: '"id"',
    ts: `"${new Date(NOW).toISOString()}"`,
    nonce: `"n${seq}"`,
    seq: `${seq}`,
    payload: '{"action":"a","target":{"type":"t"},"acked_id":"e","received":0,"accepted":0,"rejected":0,"code":"c"}',
    ...over,
  });
  const text = (over) =>
    `{${Object.entries(members(over))
      .map(([key, item]) => `"${key}":${item}`)
      .join(',')}}`;

  /** Signs a text as far as it can be signed, so that it gets past the signature. */
  const signed = (unsigned) => {
    try {
      return `${unsigned.slice(0, -1)},"hmac":"${signer.signObject(readJson(unsigned))}"}`;
    } catch {
      return unsigned;
    }
  };

  const valid = () =>
    signed(
      pick([
        text({ type: '"event_batch_ack"' }),
        text({
          type: '"command"',
          payload: `{"action":"retry_task","target":{"type":"task","id":"é\u{1f600}"},"parameters":{"a":${value(tame, 0)}}}`,
        }),
      ]),
    );

  const damaged = (wire) => {
    const bytes = Buffer.from(wire);
    const at = Math.floor(next() * bytes.length);
    switch (pick(['flip', 'cut', 'insert', 'remove', 'swap'])) {
      case 'flip':
        bytes[at] ^= 1 << Math.floor(next() * 8);
        return bytes;
      case 'cut':
        return bytes.subarray(0, at);
      case 'insert':
        return Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from(pick(['\0', '"', ',', ' ', '\u{1f600}', '1'])),
          bytes.subarray(at),
        ]);
      case 'remove':
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
      default:
        return Buffer.concat([bytes.subarray(at), bytes.subarray(0, at)]);
    }
  };

  const makers = {
    valid,
    damaged: () => damaged(valid()),
    replayed: (last) => last ?? valid(),
    garbage: () => pick(GARBAGE),
    noise: () => Buffer.from(Array.from({ length: Math.floor(next() * 64) }, () => Math.floor(next() * 256))),
    unsigned: () => text({}),
    'wrong type': () =>
      signed(text({ [pick(['v', 'type', 'id', 'ts', 'nonce', 'seq', 'payload', 'hmac', 'x'])]: value(wild, 0) })),
    'wrong payload': () => {
      const keys = ['action', 'target', 'parameters', 'acked_id', 'received', 'code', '__proto__', 'timeout_seconds'];
      const own = keys.filter(() => next() < 0.6).map((key) => `"${key}":${value(wild, 0)}`);
      return signed(text({ payload: `{${own.join(',')}}` }));
    },
    duplicated: () => signed(`${text({}).slice(0, -1)},"${pick(['v', 'type', 'payload', 'seq'])}":${value(wild, 2)}}`),
    // Rare: one of them is as long as a thousand others.
    nested: () => (next() < 0.02 ? signed(text({ payload: `{"parameters":${nested(next, pick)}}` })) : pick(GARBAGE)),
    'huge number': () =>
      next() < 0.02 ? text({ seq: '9'.repeat(pick([20, 4300, 4301, 200_000])) }) : text({ seq: pick(NUMBERS) }),
  };
  const names = Object.keys(makers);

  const refused = {};
  let accepted = 0;
  let slowest = 0;
  let last;
  for (let count = 0; count < frames; count++) {
    if (count % 5000 === 0) {
      reader = new FrameReader(signer, { now });
      seq = 0;
      last = undefined;
    }
    seq++;
    const name = pick(names);
    const wire = makers[name](last);
    const started = performance.now();
    let failure;
    let frame;
    try {
      frame = reader.read(wire);
    } catch (error) {
      failure = error;
    }
    slowest = Math.max(slowest, performance.now() - started);
    const story = () => `seed ${seed}, frame ${count} (${name}): ${String(wire).slice(0, 300)}`;
    if (failure !== undefined) {
      if (!(failure instanceof ProtocolError)) throw new Error(`Not a ProtocolError: ${story()}`, { cause: failure });
      refused[failure.code] = (refused[failure.code] ?? 0) + 1;
      if (name === 'valid') throw new Error(`Refused: ${story()}`, { cause: failure });
      continue;
    }
    accepted++;
    if (name === 'replayed' && wire === last) throw new Error(`Accepted twice: ${story()}`);
    if (['garbage', 'noise', 'unsigned'].includes(name)) throw new Error(`Accepted: ${story()}`);
    if (name === 'damaged' || name === 'valid') {
      // Damage that changes nothing a brain would hash is none.
      const { hmac, ...rest } = readJson(wire);
      if (signer.signObject(rest) !== hmac || canonical(rest) === '') throw new Error(`Accepted: ${story()}`);
    }
    if (typeof frame.type !== 'string' || typeof frame.id !== 'string') throw new Error(`No frame: ${story()}`);
    if (name === 'valid') last = wire;
    if ({}.polluted !== undefined || Object.keys(Object.prototype).length > 0) throw new Error(`Polluted: ${story()}`);
  }
  return { frames, accepted, refused, slowest };
}
