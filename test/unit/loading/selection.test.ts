import { describe, expect, test } from 'vitest';
import { hasSoundSyncHooks } from '../../../src/loading/hooks.js';
import { selection } from '../../../src/loading/selection.js';
import { createLog } from '../../../src/log.js';

function select(env: { [name: string]: string }): { wanted: string[]; lines: string[] } {
  const lines: string[] = [];
  const isWanted = selection(env, createLog({ write: (line) => lines.push(line) }));
  return { wanted: ['bullmq', 'agenda', 'node-cron'].filter(isWanted), lines };
}

describe('selection', () => {
  test.each([
    [{}, ['bullmq', 'agenda', 'node-cron']],
    [{ Z4J_ENABLED_INSTRUMENTATIONS: '' }, ['bullmq', 'agenda', 'node-cron']],
    [{ Z4J_ENABLED_INSTRUMENTATIONS: ' bullmq , agenda,' }, ['bullmq', 'agenda']],
    [{ Z4J_DISABLED_INSTRUMENTATIONS: 'node-cron' }, ['bullmq', 'agenda']],
    [{ Z4J_ENABLED_INSTRUMENTATIONS: 'bullmq,agenda', Z4J_DISABLED_INSTRUMENTATIONS: 'agenda' }, ['bullmq']],
  ])('%j', (env, wanted) => {
    expect(select(env as { [name: string]: string })).toEqual({ wanted, lines: [] });
  });

  test('unknown names are told once and ignored', () => {
    const { wanted, lines } = select({ Z4J_DISABLED_INSTRUMENTATIONS: 'bull,node-cron,celery' });
    expect(wanted).toEqual(['bullmq', 'agenda']);
    expect(lines).toEqual([
      'z4j: warn: Z4J_DISABLED_INSTRUMENTATIONS: unknown `bull`, `celery` ignored; known are bullmq, agenda, node-cron\n',
    ]);
  });

  test('a list of nothing but unknown names enables nothing', () => {
    expect(select({ Z4J_ENABLED_INSTRUMENTATIONS: 'bull' }).wanted).toEqual([]);
  });
});

test.each([
  ['20.20.2', false],
  ['22.15.1', false],
  ['22.22.2', false],
  ['22.22.3', true],
  ['22.23.0', true],
  ['23.11.0', false],
  ['24.0.2', false],
  ['24.11.0', false],
  ['24.11.1', true],
  ['25.0.0', false],
  ['25.1.0', true],
  ['26.0.0', true],
])('synchronous hooks of Node %s are sound: %s', (version, sound) => {
  expect(hasSoundSyncHooks(version)).toBe(sound);
});
