import { describe, expect, test } from 'vitest';
import { isAllowed } from '../../src/commands/guards.js';
import { SAFE_COMMANDS } from '../../src/config.js';
import type { Engine, Scheduler } from '../../src/engine.js';
import { HelloBuilder } from '../../src/hello.js';

const scheduler: Scheduler = {
  operations: ['create', 'delete', 'trigger_now'],
  list: async () => [],
  create: async () => '',
  update: async () => {},
  delete: async () => {},
  trigger: async () => null,
  onChange: () => () => {},
};
const engine: Engine = {
  name: 'bullmq',
  version: '6.7.0',
  actions: () => ['retry_task', 'bulk_retry', 'dlq.list', 'reconcile_task', 'cancel_task'],
  inventory: () => ({ queues: [], tasks: [], workers: [] }),
  start() {},
  stop() {},
  scheduler,
};

const hello = (commands: readonly string[]) =>
  new HelloBuilder().build({
    engines: [engine],
    schedulerName: (name) => `app-${name}`,
    workerId: 'w',
    hostName: 'h',
    allowed: (action) => isAllowed(action, commands),
  });

const INVENTORY = ['list', 'read', 'external_schedule_stable_snapshot_v1', 'external_schedule_mutation_v1'];

describe('HelloBuilder', () => {
  test('a token for everything that can be done', () => {
    expect(hello(SAFE_COMMANDS)).toMatchObject({
      engines: ['bullmq'],
      schedulers: ['app-bullmq'],
      capabilities: {
        bullmq: ['retry_task', 'retry_by_reference_v1', 'bulk_retry', 'list_dead_letters', 'cancel_task'],
        'app-bullmq': [...INVENTORY, 'create', 'delete', 'trigger_now'],
      },
      runtime_features: ['retry_by_reference', 'external_schedule_protocol_v1'],
    });
  });

  test('none for what operators may not do; schedules are shown all the same', () => {
    for (const [commands, tokens] of [
      [['cancel_task'], ['cancel_task']],
      [[], []],
    ] as const) {
      const { capabilities, schedulers } = hello(commands);
      expect(capabilities.bullmq).toEqual(tokens);
      expect(capabilities['app-bullmq']).toEqual(INVENTORY);
      expect(schedulers).toEqual(['app-bullmq']);
    }
    expect(hello(['schedule.external.mutate']).capabilities['app-bullmq']).toContain('create');
  });
});
