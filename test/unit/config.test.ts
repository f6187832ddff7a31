import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { missingSetting, readConfiguration, SETTINGS, SettingError, type Settings } from '../../src/config.js';
import { splitPatterns } from '../../src/patterns.js';

describe('readConfiguration', () => {
  test('takes the defaults of the table from an empty environment', () => {
    const { settings, problems } = readConfiguration({}, {});
    expect(problems).toEqual([]);
    for (const [key, setting] of Object.entries(SETTINGS)) {
      expect(settings[key as keyof Settings]).toEqual(setting.fallback);
    }
  });

  test('an option wins over the environment, empty means unset', () => {
    const env = { Z4J_PROJECT_ID: 'from-env', Z4J_AGENT_NAME: '  ', Z4J_THREAD: 'on' };
    const { settings } = readConfiguration({ projectId: 'from-code' }, env);
    expect(settings).toMatchObject({ projectId: 'from-code', agentName: '', thread: true });
  });

  test.each([
    ['Z4J_THREAD', 'perhaps'],
    ['Z4J_TRANSPORT', 'pigeon'],
    ['Z4J_BUFFER_MAX_BYTES', '-1'],
    ['Z4J_BUFFER_MAX_BYTES', '1e9'],
    ['Z4J_HEARTBEAT_SECONDS', '0'],
    ['Z4J_SAMPLE_SUCCESS', '1.5'],
    ['Z4J_MAX_PAYLOAD_BYTES', '9999'],
    ['Z4J_LOG_LEVEL', 'loud'],
    ['Z4J_TOKEN', 'two words'],
    ['Z4J_REDACTION_EXTRA_KEY_PATTERNS', '(open'],
    ['Z4J_WORKER_ROLE', 'x'.repeat(33)],
  ])('nonsense in %s is one problem that names it, and the default', (name, value) => {
    const { settings, problems } = readConfiguration({}, { [name]: value });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(name);
    const [key] = Object.entries(SETTINGS).find(([, setting]) => setting.env === name) ?? [];
    expect(settings[key as keyof Settings]).toEqual(SETTINGS[key as keyof Settings].fallback);
  });

  test.each([
    ['Z4J_REDACTION_EXTRA_KEY_PATTERNS', 'iban,(open', ['iban'], '`(open`'],
    ['Z4J_REDACTION_EXTRA_VALUE_PATTERNS', '*,\\d{9}', ['\\d{9}'], '`*`'],
    ['Z4J_ALLOW_COMMANDS', 'cancel_task, fly, schedule.*', ['cancel_task', 'schedule.*'], '`fly`'],
    ['Z4J_ALLOW_COMMANDS', '*', [], 'using none'],
  ])('what can be used of %s stays in force: %s', (name, value, usable, said) => {
    const { settings, problems } = readConfiguration({}, { [name]: value });
    expect(problems).toEqual([expect.stringContaining(said)]);
    const [key] = Object.entries(SETTINGS).find(([, setting]) => setting.env === name) ?? [];
    expect(settings[key as keyof Settings]).toEqual(usable);
  });

  test.each([
    ['a,b', ['a', 'b']],
    [' iban , \\d{2,4}-\\d+ ', ['iban', '\\d{2,4}-\\d+']],
    ['[,(]x,(a,b),c\\(,d', ['[,(]x', '(a,b)', 'c\\(', 'd']],
    ['ok,(open', ['ok', '(open']],
    [',,', []],
  ])('a comma inside of a regular expression splits no list: %s', (list, items) => {
    expect(splitPatterns(list)).toEqual(items);
  });

  test('a secret that cannot be used is in no message', () => {
    const secret = 'hunter2\nhunter2`hunter2';
    const { settings, problems } = readConfiguration({}, { Z4J_TOKEN: secret });
    expect(settings.token).toBe('');
    expect(problems).toEqual([expect.stringContaining('Z4J_TOKEN')]);
    expect(missingSetting(settings, problems)).toBe(problems[0]);
    const thrown = (): unknown => readConfiguration({ token: secret }, {});
    expect(thrown).toThrow('Expected `token` to be printable characters without blanks, got `…`');
    expect(String(problems)).not.toContain('hunter2');
    expect(thrown).not.toThrow('hunter2');
  });

  test('nonsense in an option throws and says what was expected', () => {
    expect(() => readConfiguration({ bufferMaxBytes: 5 }, {})).toThrow(SettingError);
    expect(() => readConfiguration({ thread: 'yes' as unknown as boolean }, {})).toThrow(
      'Expected `thread` to be true or false, got `yes` (string)',
    );
  });

  test('splits a connection URL', () => {
    const { settings } = readConfiguration({}, { Z4J_TOKEN: 'https://tok%2Fen:sec_ret@brain.example:8443/mail' });
    expect(settings).toMatchObject({
      token: 'tok/en',
      hmacSecret: 'sec_ret',
      brainUrl: 'https://brain.example:8443',
      projectId: 'mail',
    });
    expect(missingSetting(settings)).toBeUndefined();
  });

  test.each([
    'https://',
    'https://brain.example/mail',
    'https://a%ZZ:b@brain.example',
    'https://a%20b:c@brain.example',
  ])('a connection URL that cannot be used is one problem, and no token: %s', (url) => {
    const { settings, problems } = readConfiguration({}, { Z4J_TOKEN: url });
    expect(settings.token).toBe('');
    expect(problems).toEqual([expect.stringContaining('or a URL `https://<token>:<hmac secret>@')]);
    expect(missingSetting(settings, problems)).toBe(problems[0]);
  });

  test('reads secrets from files, and never shows them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'z4j-config-'));
    try {
      writeFileSync(join(folder, 'token'), 'from-file\n');
      const env = { Z4J_TOKEN_FILE: join(folder, 'token'), Z4J_HMAC_SECRET_FILE: join(folder, 'absent') };
      const { settings, problems } = readConfiguration({}, env);
      expect(settings.token).toBe('from-file');
      expect(problems).toHaveLength(1);
      expect(problems[0]).toContain('Z4J_HMAC_SECRET_FILE');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('says which setting is missing', () => {
    expect(missingSetting(readConfiguration({}, {}).settings)).toContain('Z4J_TOKEN');
    expect(missingSetting(readConfiguration({}, { Z4J_TOKEN: 't' }).settings)).toContain('Z4J_BRAIN_URL');
    expect(missingSetting(readConfiguration({}, { Z4J_TOKEN: 't', Z4J_BRAIN_URL: 'u' }).settings)).toContain(
      'Z4J_HMAC_SECRET',
    );
  });
});
