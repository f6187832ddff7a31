import { describe, expect, test } from 'vitest';
import { readConfiguration } from '../../src/config.js';
import { agentFolder, identityOf, shorten } from '../../src/identity.js';

const settings = (env: Record<string, string>) => readConfiguration({}, env).settings;

describe('identity', () => {
  test('workers are named after the first label of the host, the slot and the queue', () => {
    const named = settings({ Z4J_AGENT_NAME: 'web-1.example.com', Z4J_SERVICE_NAME: '@shop/mailer' });
    expect(identityOf(named, 0).workerName('mail')).toBe('web-1:mail');
    expect(identityOf(named, 3).workerName('mail')).toBe('web-1-3:mail');
    expect(identityOf(named, 0).workerName('')).toBe('web-1');
    expect(identityOf(named, 0).workerName('a@b.example')).not.toContain('@');
  });

  test('nothing in the ids changes with a restart', () => {
    const one = identityOf(settings({ Z4J_AGENT_NAME: 'h', Z4J_SERVICE_NAME: 's' }), 2);
    expect(one.workerId).toBe('s-h-2');
    expect(one.schedulerName('bullmq')).toBe('s-bullmq');
  });

  test('long names stay distinct and within 40 characters', () => {
    const name = (service: string) => identityOf(settings({ Z4J_SERVICE_NAME: service }), 0).schedulerName('node-cron');
    const [a, b] = [name(`${'x'.repeat(60)}a`), name(`${'x'.repeat(60)}b`)];
    expect(a).toHaveLength(40);
    expect(a).not.toBe(b);
    expect(shorten('short', 40)).toBe('short');
  });

  test('the service comes from OTEL_SERVICE_NAME, then from package.json', () => {
    expect(identityOf(settings({}), 0, { OTEL_SERVICE_NAME: 'otel' }).service).toBe('otel');
    expect(identityOf(settings({}), 0, { pm_exec_path: new URL(import.meta.url).pathname }).service).toBe('bare');
  });

  test('two projects or two applications do not share a folder, two tokens of one do', () => {
    const base = { Z4J_AGENT_NAME: 'h', Z4J_SERVICE_NAME: 's', Z4J_BRAIN_URL: 'https://b', Z4J_TOKEN: 'one' };
    const folder = agentFolder(settings(base));
    expect(agentFolder(settings({ ...base, Z4J_TOKEN: 'two' }))).toBe(folder);
    expect(agentFolder(settings({ ...base, Z4J_PROJECT_ID: 'p' }))).not.toBe(folder);
    expect(agentFolder(settings({ ...base, Z4J_SERVICE_NAME: 't' }))).not.toBe(folder);
  });
});
