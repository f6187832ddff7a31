import { spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { expect, it } from 'vitest';
import { canonical, FrameWriter, ProtocolError, readJson, Signer } from '../../../src/protocol/index.js';
import { random } from './hostile.mjs';

const VALUES = 100_000;
const FRAMES = 2_000;
const SECRET = Buffer.alloc(32, 9);
const IDS = { agent_id: 'é', project_id: '\u{1f600}', session_id: '"' };

/** Answers each line with the HMAC of its canonical text, or `!` when it has none. */
const PYTHON = `
import hmac, json, sys
secret = bytes.fromhex(sys.argv[1])
ids = json.loads(sys.argv[2])
encode = json.JSONEncoder(sort_keys=True, separators=(',', ':'), ensure_ascii=False, allow_nan=False).encode
for line in sys.stdin.buffer:
    try:
        value = json.loads(line[1:])
        if line[:1] == b'F':
            assert value.pop('hmac') is not None
            value.update(ids)
        print(hmac.digest(secret, encode(value).encode(), 'sha256').hex())
    except ValueError:
        print('!')
`;

const CHARACTERS = [
  'a',
  'Z',
  '0',
  '9',
  '"',
  '\\',
  '/',
  '\b',
  '\f',
  '\n',
  '\r',
  '\t',
  '\0',
  '\u001f',
  '\u007f',
  'é',
].concat([
  '\u2028',
  '\ud7ff',
  '\ue000',
  '\ufffd',
  '\uffff',
  '\u{10000}',
  '\u{1f600}',
  '\u{10ffff}',
  '語',
  '{',
  '}',
  ' ',
]);
const EDGES = [0, 1, 2 ** 31, 2 ** 53, 2 ** 53 + 2, 1e15, 1e16, 1e17, 1e20, 1e21, 1e22, 1e-4, 1e-5, 1e-6, 1e-7, 5e-324];

class Generator {
  readonly #next: () => number;
  readonly #bits = new DataView(new ArrayBuffer(8));

  constructor(seed: number) {
    this.#next = random(seed);
  }

  chance(share: number): boolean {
    return this.#next() < share;
  }

  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  text(): string {
    let text = '';
    for (let length = this.below(8); length > 0; length--) text += this.pick(CHARACTERS);
    return this.chance(0.005) ? `${text}${this.pick(['\ud800', '\udbff', '\udc00', '\udfff'])}` : text;
  }

  double(): number {
    if (this.chance(0.3)) return this.pick(EDGES) * (1 + this.below(3) * Number.EPSILON) * (this.chance(0.5) ? 1 : -1);
    if (this.chance(0.3)) return Number((this.#next() * 10 ** this.below(24)).toPrecision(1 + this.below(17)));
    for (;;) {
      this.#bits.setUint32(0, this.below(2 ** 32));
      this.#bits.setUint32(4, this.below(2 ** 32));
      const x = this.#bits.getFloat64(0);
      if (Number.isFinite(x)) return x;
    }
  }

  digits(length: number): string {
    let text = '';
    while (text.length < length) text += String(this.below(1e9)).padStart(9, '0');
    return text.slice(0, length);
  }

  /** A finite one: of two equal keys Python forgets the first, infinite or not, and this side refuses it unseen. */
  number(): string {
    for (;;) {
      const token = this.token();
      if (Number.isFinite(Number(token))) return token;
    }
  }

  /** A document no brain can read or sign. */
  endless(): string {
    return this.pick(['1e309', '[-1e400]', '9'.repeat(4301), `{"a":-${'9'.repeat(4301)}}`, '[NaN]', '-Infinity']);
  }

  /** A number token as any JSON writer might have written it. */
  token(): string {
    const sign = this.chance(0.3) ? '-' : '';
    const whole = this.chance(0.2)
      ? '0'
      : `${1 + this.below(9)}${this.digits(this.below(this.chance(0.05) ? 400 : 24))}`;
    switch (this.below(5)) {
      case 0:
        return sign + whole;
      case 1:
        return `${sign}${whole}.${this.digits(1 + this.below(24))}`;
      case 2:
        return `${sign}${whole}${this.pick(['e', 'E'])}${this.pick(['', '+', '-'])}${this.below(this.chance(0.02) ? 500 : 40)}`;
      case 3:
        return this.double().toExponential();
      default:
        return String(this.double());
    }
  }

  /** JSON text, escaped here and there so that it fits one line. */
  wire(depth: number): string {
    const blank = this.chance(0.1) ? this.pick([' ', '\t', '  ']) : '';
    const kind = depth > 5 ? this.#next() * 0.6 : this.#next();
    if (kind < 0.3) return this.number() + blank;
    if (kind < 0.5) return blank + this.quoted();
    if (kind < 0.6) return this.pick(['null', 'true', 'false']);
    if (kind < 0.61) return this.deep();
    const items = Array.from({ length: this.below(5) }, () => this.wire(depth + 1));
    if (kind < 0.8) return `[${items.join(`,${blank}`)}]`;
    return `{${blank}${items.map((item) => `${this.quoted()}${blank}:${item}`).join(',')}}`;
  }

  quoted(): string {
    const text = JSON.stringify(this.text());
    if (this.chance(0.7)) return text;
    return text.replace(/[^ -~]|\//g, (unit) =>
      unit === '/' ? '\\/' : [...unit].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''),
    );
  }

  /** Deep enough to reach the limit now and then, whatever it is nested in. */
  deep(): string {
    const depth = this.below(190);
    return `${'[{"é":'.repeat(depth / 2)}${this.number()}${'}]'.repeat(depth / 2)}`;
  }

  /** A JavaScript value, as an agent prints it. */
  value(depth: number): unknown {
    const kind = this.below(depth > 4 ? 5 : 7);
    if (kind < 2) return this.double();
    if (kind === 2) return this.text();
    if (kind === 3) return this.pick([null, true, false]);
    if (kind === 4) return BigInt(this.digits(1 + this.below(40)));
    const items = Array.from({ length: this.below(5) }, () => this.value(depth + 1));
    return kind === 5 ? items : Object.fromEntries(items.map((item) => [this.text(), item]));
  }
}

/** The HMAC, or `!` when there is nothing to sign. */
function sign(run: () => string): string {
  try {
    return createHmac('sha256', SECRET).update(run()).digest('hex');
  } catch (error) {
    if (error instanceof ProtocolError && ['unsignable', 'number', 'json'].includes(error.code)) return '!';
    throw error;
  }
}

it('prints and signs as Python does', { timeout: 120_000 }, () => {
  if (spawnSync('python3', ['-c', 'import json']).status !== 0) {
    console.log('not compared with Python: python3 is not on the PATH');
    return;
  }
  const seed = Math.floor(Math.random() * 2 ** 32);
  console.log(`property seed ${seed}`);
  const generator = new Generator(seed);
  const lines: string[] = [];
  const expected: string[] = [];
  while (lines.length < VALUES) {
    let text = generator.chance(0.005) ? generator.endless() : generator.wire(0);
    if (generator.chance(0.3)) {
      // What this side prints must be what Python would have printed.
      const value = generator.value(0);
      const mac = sign(() => (text = canonical(value)));
      expected.push(mac);
      if (mac === '!') text = '?';
    } else {
      expected.push(sign(() => canonical(readJson(text))));
    }
    lines.push(`V${text}`);
  }
  const writer = new FrameWriter(
    new Signer(SECRET, { agentId: IDS.agent_id, projectId: IDS.project_id, sessionId: IDS.session_id }),
  );
  while (lines.length < VALUES + FRAMES) {
    const values = Array.from({ length: generator.below(5) }, () => generator.value(1));
    const records = values
      .filter((value) => sign(() => canonical(value)) !== '!')
      .map((value) => Buffer.from(canonical(value)));
    const wire = writer.eventBatch(`ev_${lines.length}`, records).toString();
    lines.push(`F${wire}`);
    expected.push((JSON.parse(wire) as { hmac: string }).hmac);
  }
  const { stdout, stderr } = spawnSync('python3', ['-c', PYTHON, SECRET.toString('hex'), JSON.stringify(IDS)], {
    input: `${lines.join('\n')}\n`,
    maxBuffer: 64 * 1_048_576,
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  const answers = stdout.trimEnd().split(/\r?\n/);
  expect(answers.length).toBe(lines.length);
  const wrong = answers.findIndex((answer, index) => answer !== expected[index]);
  expect(wrong === -1 ? '' : `seed ${seed}, line ${wrong}: ${lines[wrong]}`).toBe('');
  expect(answers.filter((answer) => answer === '!').length).toBeLessThan(VALUES / 10);
});
