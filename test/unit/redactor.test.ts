import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { JsonValue } from '../../src/engine.js';
import { REDACTED, Redactor, RedactorError } from '../../src/redactor.js';

interface Vector {
  readonly max_value_bytes: number;
  readonly input: JsonValue;
  readonly output: JsonValue;
}

const { cases } = JSON.parse(readFileSync(new URL('../vectors/redaction.json', import.meta.url), 'utf8')) as {
  cases: Vector[];
};

/** Where this redactor is stricter than the reference, on purpose. */
const STRICTER_KEYS = ['my_api_key', 'userPassword', 'privateKey', 'x-auth-token', 'secretKey'];
const STRICTER_TEXTS = ['redis://:pw@host/0', 'http://u:p@h'];
const MARK = /\[\.\.\.\d+ more (bytes|letters) truncated\]$/;

/** The reference's output, made stricter where this redactor is. */
function stricter(value: JsonValue): JsonValue {
  if (typeof value === 'string') return STRICTER_TEXTS.includes(value) ? REDACTED : value;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(stricter);
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      STRICTER_KEYS.includes(key) && item === 'keep' ? REDACTED : stricter(item as JsonValue),
    ]),
  );
}

/** The reference cuts at the limit and adds its mark; here the mark is within the limit. */
function expectCut(got: JsonValue, reference: JsonValue, max: number): void {
  const [text, whole] = [got, reference].map((value) => (value as { v: string }).v) as [string, string];
  if (!MARK.test(whole)) {
    expect(text).toBe(whole);
    return;
  }
  expect(text).toMatch(MARK);
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(max);
  expect(whole.startsWith(text.replace(MARK, ''))).toBe(true);
}

describe('reference vectors', () => {
  test.each(cases.map((vector, index) => [index, vector] as const))('case %i', (_, vector) => {
    const redactor = new Redactor({ maxStringBytes: vector.max_value_bytes });
    const got = redactor.redact(vector.input);
    if (JSON.stringify(vector.output).includes(' more bytes truncated]')) {
      expectCut(got, vector.output, vector.max_value_bytes);
    } else if (JSON.stringify(vector.input).includes('user@example.com.password')) {
      // The reference redacts the key only.
      expect(got).toEqual({ [REDACTED]: REDACTED });
    } else {
      expect(got).toEqual(stricter(vector.output));
    }
  });
});

describe('keys', () => {
  const redactor = new Redactor();
  const isSecret = (key: string) => redactor.print({ [key]: 1 }).endsWith(`:"${REDACTED}"}`);

  test.each([
    ...['userPassword', 'user_password', 'USER-PASSWORD', 'dbPasswd', 'password', 'hashedPassword', 'passwordHash'],
    ...['privateKey', 'secretKey', 'AWS_SECRET_ACCESS_KEY', 'stripeApiKey', 'x-auth-token', 'X-CSRF-Token', 'jwt'],
    ...['clientSecret', 'secrets', 'Set-Cookie', 'sessionCookie', 'googleCredentials', 'user_ssn', 'cardCvv', 'auth'],
    ...['paſſword', 'toKen', 'k'.repeat(257), 'password\n', 'cardNumber', 'connectionString', 'passphrase'],
  ])('%j is secret', (key) => expect(isSecret(key)).toBe(true));

  test.each([
    ...['author', 'tokens', 'maxTokens', 'last_password_reset', 'passwordResetAt', 'keyboard', 'key', 'keys', 'lesson'],
    ...['secretary', 'secretName', 'cookieConsent', 'authenticated', 'authorId', 'monkey', 'tokenCount', 'passenger'],
    ...['k'.repeat(256), '', 'résumé', 'card', 'session', 'lessn', 'accessKeyId', 'publicKey', 'primaryKey'],
  ])('%j is not', (key) => expect(isSecret(key)).toBe(false));

  test('two keys that become one name leave one, as when the text is read', () => {
    expect(redactor.print({ 'a@b.com': 1, 'c@d.com': 2, z: 3 })).toBe('{"[REDACTED]":2,"z":3}');
    expect(redactor.print({ a: 1, 'a\0': 2 })).toBe('{"a":2}');
  });
});

describe('values', () => {
  const redactor = new Redactor();

  test.each([
    'x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc y',
    'a.eyJh.b.c',
    'Authorization: Bearer abcdefghijklmnop',
    'bearer\u00a0\u2003abcdefghijklmnop',
    'x5-----BEGIN RSA PRIVATE KEY-----',
    '-----BEGIN PGP PRIVATE KEY BLOCK-----',
    'id=123-45-6789.',
    '١٢٣-٤٥-٦٧٨٩',
    'task_live sk_live_aaaaaaaaaaaaaaaaaaaaaaaa',
    'xoxb-123-4567890',
    'ſk_live_aaaaaaaaaaaaaaaaaaaaaaaa',
    'rediss://:secret@cache:6379/1',
    'https://user:pass@example.com/path',
    `{"url":"mongodb://u:p@h"}`,
    'mail\0@host.tld',
  ])('%j is a secret', (text) => expect(redactor.redact(text)).toBe(REDACTED));

  test.each([
    '2026-11-23T17:15:38.120Z',
    '6f1f2a0e-6f1f-4a0e-8f1f-6f1f2a0e6f1f',
    'https://example.com:8080/a@b',
    'http://localhost:3000, x@y',
    'Beginner -----BEGIN nothing',
    'snake_case_name and kebab-case-name',
    'v1.2.3-rc.4',
    'ring-bearer of the long-awaited',
    '192.168.100.200:6379',
    '@scope/package@1.2.3',
  ])('%j is none', (text) => expect(redactor.redact(text)).toBe(text));

  test('a secret that the cut runs through is found', () => {
    const text = `${'x '.repeat(4070)}github_pat_${'a'.repeat(82)} and more`.padEnd(9000, '.');
    expect(redactor.redact(text)).toBe(REDACTED);
  });

  test('a cut text is within the limit, ends at a whole character and is not cut again', () => {
    for (const unit of ['a', 'é', '日', '😀', 'a😀', '\ud800']) {
      const text = redactor.redact(unit.repeat(9000)) as string;
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(8192);
      expect(Buffer.byteLength(text)).toBeGreaterThan(8192 - 48);
      expect(text).toMatch(MARK);
      if (unit !== '\ud800') expect(text).not.toContain('\ufffd');
      expect(redactor.redact(text)).toBe(text);
    }
  });
});

describe('options', () => {
  test('patterns of one’s own are added', () => {
    const redactor = new Redactor({ extraKeyPatterns: ['^internal_', /Iban/g], extraValuePatterns: ['acct-\\d+'] });
    const value = { internal_id: 1, ibanNumber: 'x', note: 'ACCT-99', password: 'p', ok: 'fine' };
    for (let i = 0; i < 2; i++) {
      expect(redactor.redact(value)).toEqual({
        internal_id: REDACTED,
        ibanNumber: REDACTED,
        note: REDACTED,
        password: REDACTED,
        ok: 'fine',
      });
    }
  });

  test('what is no regular expression is refused with its name', () => {
    const make = () => new Redactor({ extraValuePatterns: ['ok', '(unclosed'] });
    expect(make).toThrow(RedactorError);
    expect(make).toThrow(/extraValuePatterns.*\(unclosed/);
    expect(() => new Redactor({ extraKeyPatterns: ['['] })).toThrow(expect.objectContaining({ code: 'pattern' }));
  });

  test.each([0, 63, 1.5, Number.NaN, 2 ** 21])('a limit of %d is refused', (maxStringBytes) => {
    expect(() => new Redactor({ maxStringBytes })).toThrow(expect.objectContaining({ code: 'max_string_bytes' }));
  });
});
