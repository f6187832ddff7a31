import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  type CommandMemory,
  type CommandResult,
  CommandRouter,
  type ReceivedCommand,
  type RouterOptions,
} from '../../../src/commands/router.js';
import { siblingsOf } from '../../../src/commands/siblings.js';
import { SAFE_COMMANDS } from '../../../src/config.js';
import { CommandError, type Engine, type JsonValue } from '../../../src/engine.js';
import { createLog } from '../../../src/log.js';
import { purgeToken } from '../../../src/protocol/index.js';

const secret = randomBytes(32);

function memory(): CommandMemory & { states: Map<string, 'interrupted' | 'running' | CommandResult> } {
  const states = new Map<string, 'interrupted' | 'running' | CommandResult>();
  return {
    states,
    begin(key) {
      const known = states.get(key);
      if (known !== undefined) return known;
      states.set(key, 'running');
      return 'new';
    },
    finish: (key, result) => states.set(key, result),
  };
}

function engine(
  name: string,
  parts: Partial<Engine> & { queues?: string[]; tasks?: string[]; workers?: string[] } = {},
): Engine {
  return {
    name,
    version: '6.7.0',
    actions: () => ['cancel_task', 'purge_queue', 'rate_limit', 'pool_grow', 'submit_task'],
    inventory: () => ({ queues: parts.queues ?? [], tasks: parts.tasks ?? [], workers: parts.workers ?? [] }),
    start() {},
    stop() {},
    execute: async (command) => ({ by: name, action: command.action }),
    ...parts,
  };
}

let next = 0;
const command = (
  action: string,
  parameters: ReceivedCommand['parameters'] = {},
  more: Partial<ReceivedCommand> = {},
): ReceivedCommand => ({
  id: `c${++next}`,
  action,
  target: { type: 'task', id: null },
  parameters,
  timeoutSeconds: 60,
  issuedBy: null,
  ...more,
});

function router(engines: Engine[], options: Partial<RouterOptions> = {}) {
  const lines: string[] = [];
  const made = new CommandRouter({
    engines: () => engines,
    memory: memory(),
    allowed: SAFE_COMMANDS,
    purge: { secret, threshold: 100, acceptLegacyToken: false },
    excerpt: (text) => text,
    log: createLog({ level: 'info', write: (line) => lines.push(line) }),
    ...options,
  });
  return { router: made, lines };
}

describe('CommandRouter', () => {
  test('gives a command to the engine it names, once, and repeats the stored answer', async () => {
    let runs = 0;
    const { router: made, lines } = router([engine('bullmq', { execute: async () => ++runs }), engine('agenda')]);
    const cancel = command('cancel_task', { engine: 'bullmq', task_id: 'a:1' }, { issuedBy: 'olga' });
    expect(await made.handle(cancel)).toEqual({ status: 'success', result: 1, error: null });
    expect(await made.handle(cancel)).toEqual({ status: 'success', result: 1, error: null });
    expect(runs).toBe(1);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('olga');
  });

  test('fires are the same command when their fire_id is', async () => {
    let runs = 0;
    const { router: made } = router([engine('bullmq', { execute: async () => ++runs })]);
    await made.handle(command('schedule.fire', { engine: 'bullmq', fire_id: 'f' }));
    expect((await made.handle(command('schedule.fire', { engine: 'bullmq', fire_id: 'f' }))).result).toBe(1);
  });

  test('operations on schedules are the same command when their operation_id is', async () => {
    let runs = 0;
    const { router: made } = router([engine('bullmq')], { schedules: async () => ++runs });
    const mutate = (operation_id: string) => command('schedule.external.mutate', { scheduler: 's', operation_id });
    expect((await made.handle(mutate('one'))).result).toBe(1);
    expect((await made.handle(mutate('one'))).result).toBe(1);
    expect((await made.handle(mutate('two'))).result).toBe(2);
    // Where it is not the name of an operation it is anybody's.
    const task = engine('bullmq', { execute: async () => ++runs });
    const { router: other } = router([task], { schedules: async () => ++runs });
    const cancel = () => command('cancel_task', { engine: 'bullmq', operation_id: 'one' });
    expect((await other.handle(cancel())).result).toBe(3);
    expect((await other.handle(cancel())).result).toBe(4);
  });

  test('a storm of commands leaves the event loop its turns', async () => {
    let turns = 0;
    const turn = (): void => {
      turns += 1;
      ticking = setImmediate(turn);
    };
    let ticking = setImmediate(turn);
    let done = 0;
    const { router: made } = router([
      engine('bullmq', {
        // As fast as a broker that answers at once.
        execute: async () => {
          done += 1;
          return null;
        },
      }),
    ]);
    await Promise.all(
      Array.from({ length: 2000 }, (_, n) =>
        made.handle(command('cancel_task', { engine: 'bullmq', task_id: `mail:${n}` })),
      ),
    );
    clearImmediate(ticking);
    expect(done).toBe(2000);
    expect(turns).toBeGreaterThan(2000 / 8 / 2);
  });

  test('what comes again while it is carried out has the same answer, and is carried out once', async () => {
    let end: (value: JsonValue) => void = () => {};
    let runs = 0;
    const slow = engine('bullmq', {
      execute: () => {
        runs += 1;
        return new Promise((resolve) => {
          end = resolve;
        });
      },
    });
    const { router: made } = router([slow]);
    const cancel = command('cancel_task', { engine: 'bullmq' });
    const fire = { engine: 'bullmq', fire_id: 'f' };
    for (const [one, other] of [
      [cancel, cancel],
      [command('schedule.fire', fire), command('schedule.fire', fire)],
    ] as const) {
      const answers = Promise.all([made.handle(one), made.handle(other)]);
      await Promise.resolve();
      end('done');
      expect(await answers).toEqual([1, 2].map(() => ({ status: 'success', result: 'done', error: null })));
    }
    expect(runs).toBe(2);
  });

  test('what a dead process began is indeterminate, unless it may be repeated', async () => {
    const remembered = memory();
    const { router: made } = router([engine('bullmq')], { memory: remembered });
    const submit = command('submit_task', { engine: 'bullmq' });
    const cancel = command('cancel_task', { engine: 'bullmq' });
    for (const { id } of [submit, cancel]) remembered.states.set(id, 'interrupted');
    expect(await made.handle(submit)).toMatchObject({ status: 'failed', result: { indeterminate: true } });
    expect(await made.handle(cancel)).toMatchObject({ status: 'success' });
  });

  test('finds the engine of a command without one by queue, task and worker', async () => {
    const mail = engine('bullmq', { queues: ['mail'], workers: ['h:mail'], tasks: ['send'] });
    const { router: made } = router([mail, engine('agenda', { queues: ['report'] })]);
    const by = async (action: string, parameters: ReceivedCommand['parameters']) =>
      ((await made.handle(command(action, parameters))).result as { by?: string } | null)?.by;
    expect(await by('purge_queue', { queue: 'report', force: true })).toBe('agenda');
    expect(await by('rate_limit', { task_name: 'send', rate: '5/s' })).toBe('bullmq');
    expect(await by('pool_grow', { worker_name: 'h:mail', delta: 1 })).toBe('bullmq');
    expect(await by('submit_task', { task_name: 'unheard of', queue: 'report' })).toBe('agenda');
  });

  test('refuses by name what is ambiguous, unknown or impossible', async () => {
    const { router: made } = router([engine('bullmq', { queues: ['mail'] }), engine('bullmq-b', { queues: ['mail'] })]);
    const error = async (action: string, parameters: ReceivedCommand['parameters']) =>
      (await made.handle(command(action, parameters))).error;
    expect(await error('purge_queue', { queue: 'mail', force: true })).toContain('bullmq, bullmq-b');
    expect(await error('cancel_task', { engine: 'celery' })).toContain('no engine celery');
    expect(await error('pool_grow', { worker_name: 'other:mail', delta: 1 })).toContain('another process');
    expect(await error('retry_task', { engine: 'bullmq' })).toContain('it can cancel_task');
    expect(await error('fly', { engine: 'bullmq' })).toContain('Z4J_ALLOW_COMMANDS');
  });

  test('asks the siblings before it refuses', async () => {
    const answer: CommandResult = { status: 'success', result: 'by a sibling', error: null };
    const { router: made } = router([engine('bullmq')], { siblings: { ask: async () => answer } });
    expect(await made.handle(command('pool_grow', { worker_name: 'h-1:mail', delta: 1 }))).toBe(answer);
  });

  test('asks the siblings for what its own engine does not have, and keeps its own answer when they have it neither', async () => {
    const answer: CommandResult = { status: 'success', result: 'by a sibling', error: null };
    const missing = engine('bullmq', {
      execute: async () => {
        throw new CommandError('not_found', 'it runs in another process');
      },
    });
    const cancel = command('cancel_task', { engine: 'bullmq', task_id: 'a:1' });
    const { router: made } = router([missing], { siblings: { ask: async () => answer } });
    expect(await made.handle(cancel)).toBe(answer);
    const { router: alone, lines } = router([missing], { siblings: { ask: async () => undefined } });
    expect((await alone.handle(cancel)).error).toBe('it runs in another process');
    expect(lines).toHaveLength(1);
    expect(await alone.executeHere(cancel)).toBeUndefined();
  });

  test('a sibling that took over and fell silent leaves the outcome open', async () => {
    const port = {
      siblings: () => [1, 2, 3],
      async send(slot: number, message: JsonValue) {
        const { ask } = message as { ask: string };
        if (ask === 'can') return slot > 1;
        if (slot === 2) return null;
        throw new Error('gone');
      },
    };
    const { router: made } = router([engine('bullmq')], { siblings: siblingsOf(port) });
    const lost = await made.handle(command('pool_grow', { worker_name: 'h-1:mail', delta: 1 }));
    expect(lost).toMatchObject({ status: 'failed', result: { indeterminate: true } });
    expect(lost.error).toContain('slot 3');
  });

  test.each([
    ['NUL in a name', { engine: 'bullmq', queue: 'a\u0000b' }],
    ['an empty name', { engine: '', queue: 'a' }],
    ['a number for a name', { engine: 'bullmq', task_id: 5 }],
    ['a huge name', { engine: 'bullmq', queue: '\u{1f600}'.repeat(251) }],
    ['a negative delta', { engine: 'bullmq', delta: -5 }],
    ['a huge delta', { engine: 'bullmq', delta: 1e9 }],
    ['a rate of nonsense', { engine: 'bullmq', rate: '5 per fortnight' }],
    ['a fire of a megabyte', { engine: 'bullmq', fire_id: 'x'.repeat(1 << 20) }],
    ['a megabyte', { engine: 'bullmq', args: ['x'.repeat(1 << 20)] }],
  ])('refuses %s before an engine sees it', async (_, parameters) => {
    let seen = 0;
    const { router: made } = router([engine('bullmq', { execute: async () => ++seen })]);
    expect((await made.handle(command('cancel_task', parameters))).status).toBe('failed');
    expect(seen).toBe(0);
  });

  test('a narrow list of commands hides no schedules', async () => {
    const { router: made } = router([engine('bullmq')], { allowed: ['cancel_task'], schedules: async () => 'shown' });
    for (const action of ['schedule.external.activate', 'schedule.resync']) {
      expect((await made.handle(command(action))).result).toBe('shown');
    }
    expect((await made.handle(command('schedule.external.mutate'))).error).toContain('Z4J_ALLOW_COMMANDS');
  });

  test('polluting keys stay plain data', async () => {
    const parameters = JSON.parse('{"engine":"bullmq","__proto__":{"polluted":true},"constructor":1}');
    const { router: made } = router([engine('bullmq')]);
    expect((await made.handle(command('cancel_task', parameters))).status).toBe('success');
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test('an engine that throws or hangs is answered for', async () => {
    const { router: made } = router([
      engine('bullmq', {
        execute: async ({ action }) => {
          if (action === 'cancel_task') throw new TypeError('boom');
          if (action === 'submit_task') throw new CommandError('conflict', 'it runs');
          return new Promise(() => {});
        },
      }),
    ]);
    expect((await made.handle(command('cancel_task', { engine: 'bullmq' }))).error).toContain('boom');
    expect((await made.handle(command('submit_task', { engine: 'bullmq' }))).error).toBe('it runs');
    const hung = await made.handle(command('rate_limit', { engine: 'bullmq' }, { timeoutSeconds: 1 }));
    expect(hung).toMatchObject({ status: 'failed', result: { indeterminate: true, operation: 'rate_limit' } });
  });

  test('runs many commands a few at a time', async () => {
    let now = 0;
    let most = 0;
    const { router: made } = router([
      engine('bullmq', {
        execute: async (_, context) => {
          most = Math.max(most, ++now);
          await context.yield();
          now -= 1;
          return null;
        },
      }),
    ]);
    await Promise.all(Array.from({ length: 100 }, () => made.handle(command('cancel_task', { engine: 'bullmq' }))));
    expect(most).toBe(8);
  });

  test('a purge needs the token of the depth it meets, or force', async () => {
    const purge = engine('bullmq', {
      queues: ['mail'],
      execute: async (_, context) => {
        context.allowPurge('mail', 7);
        return { purged: 7 };
      },
    });
    const { router: made } = router([purge]);
    const run = (parameters: ReceivedCommand['parameters']) =>
      made.handle(command('purge_queue', { queue: 'mail', ...parameters }));
    expect((await run({ force: false, confirm_token: null })).error).toContain('observed_depth');
    expect((await run({ confirm_token: purgeToken(secret, 'mail', 6) })).error).toContain('another depth');
    expect((await run({ confirm_token: purgeToken(secret, 'mail', 7) })).status).toBe('success');
    expect((await run({ force: true })).status).toBe('success');
    const { router: strict } = router([purge], { purge: { secret, threshold: 5, acceptLegacyToken: false } });
    const token = purgeToken(secret, 'mail', 7);
    expect((await strict.handle(command('purge_queue', { queue: 'mail', confirm_token: token }))).error).toContain(
      'Z4J_PURGE_THRESHOLD',
    );
  });
});
