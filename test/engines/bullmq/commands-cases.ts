import { expect } from 'vitest';

/** What an operator does in a scenario of commands.cjs, and what the broker and the answer say then. */
export interface Case {
  readonly scenario: string;
  readonly from?: number;
  readonly saw: (major: number) => unknown;
  /** Events of the jobs, in short. */
  readonly jobs?: { readonly [jobId: string]: string };
}

const any = expect.anything();

export const CASES: readonly Case[] = [
  {
    scenario: 'retryTask',
    saw: () => ({
      result: { task_id: 'retryTask:1', engine: 'bullmq' },
      data: { n: 2 },
      laterState: 'delayed',
      conflict: { refused: 'conflict', message: expect.stringMatching(/is delayed: only what has finished/) },
      missing: { refused: 'not_found', message: expect.stringMatching(/no job 999 in queue retryTask/) },
    }),
  },
  {
    scenario: 'deadLetters',
    saw: () => ({
      first: {
        entries: [
          {
            task_id: expect.stringMatching(/^deadLetters:\d+$/),
            task_name: 'dead',
            queue: 'deadLetters',
            failed_at: expect.stringMatching(/^\d{4}-.*Z$/),
            error_excerpt: 'no',
            attempts: 1,
          },
        ],
        next_cursor: '100',
        total: 120,
        engine: 'bullmq',
      },
      second: null,
      ids: 120,
      requeued: { task_id: 'deadLetters:1', engine: 'bullmq' },
      again: { refused: 'conflict', message: expect.stringMatching(/not a dead letter/) },
      bulk: { retried: 119, skipped: 1, new_task_ids: [], errors: { 'deadLetters:nobody': any } },
    }),
  },
  {
    scenario: 'cancelQueued',
    saw: () => ({
      results: [
        { cancelled: expect.stringMatching(/^wait/) },
        { cancelled: 'delayed' },
        { noop: true, reason: 'the broker does not have it' },
      ],
      states: ['unknown', 'unknown'],
    }),
    jobs: { 1: 's r v', 2: 's r v' },
  },
  {
    scenario: 'cancelScheduled',
    from: 5,
    saw: () => ({ result: { refused: 'refused', message: expect.stringMatching(/next run of a schedule/) } }),
  },
  {
    scenario: 'cancelActive',
    saw: () => ({
      result: { cancelled: 'active', how: 'abandoned', note: any },
      state: 'failed',
      finished: { noop: true, reason: 'already completed' },
    }),
    jobs: { 1: 's r x v', 2: 's r x ok' },
  },
  {
    scenario: 'cancelListening',
    from: 5,
    saw: () => ({ result: { cancelled: 'active', how: 'signal' }, state: 'failed' }),
    jobs: { 1: 's r x v' },
  },
  { scenario: 'cancelSandboxed', saw: () => ({ cancelled: 'active', state: 'failed' }), jobs: { 1: 's r x v' } },
  {
    scenario: 'purge',
    saw: () => ({
      asked: { name: 'purge', depth: 4 },
      refused: expect.stringMatching(/no token/),
      before: 4,
      result: { queue: 'purge', purged: 4, depth_before: 4 },
      wait: 0,
      active: 1,
      delayed: 1,
      unknown: 'not_found',
    }),
    jobs: { 1: 's r x ok', 2: 's r v', 3: 's r v', 4: 's r v', 5: 's r v', 6: 's r' },
  },
  {
    scenario: 'reconcile',
    saw: () => ({
      good: { task_id: 'reconcile:1', engine_state: 'success', finished_at: any, exception: null },
      bad: { task_id: 'reconcile:2', engine_state: 'failure', finished_at: any, exception: 'no' },
      later: { task_id: 'reconcile:3', engine_state: 'pending', finished_at: null, exception: null },
      nobody: { task_id: 'reconcile:nobody', engine_state: 'unknown', finished_at: null, exception: null },
    }),
  },
  {
    scenario: 'submit',
    saw: () => ({
      first: 'submit:fire-f-1',
      same: true,
      jobs: [
        { name: 'fired', data: { n: 1 }, priority: 0 },
        { name: 'named', data: { a: 1 }, priority: 10 },
      ],
      named: true,
      unknown: { refused: 'not_found', message: expect.stringMatching(/no queue \.\.\/etc/) },
    }),
  },
  {
    scenario: 'pool',
    saw: () => ({
      grown: { concurrency: 5, before: 1 },
      fast: true,
      shrunk: { concurrency: 2, before: 5 },
      refused: ['refused', 'invalid', 'not_found'],
    }),
  },
  {
    scenario: 'consumer',
    saw: () => ({
      cancelled: { queue: 'consumer', paused: 1, running: 0 },
      state: expect.stringMatching(/^(wait|delayed)/),
      added: { queue: 'consumer', resumed: 1 },
      again: true,
      other: 'refused',
      active: 0,
    }),
  },
  {
    scenario: 'restart',
    saw: () => ({
      result: { restarted: 1, waited_for: 1 },
      state: 'completed',
      isRunning: true,
      left: expect.stringMatching(/^wait/),
    }),
    jobs: { 1: 's r x ok', 2: 's r x ok', 3: 's r' },
  },
  {
    scenario: 'rateLimit',
    saw: (major) => ({
      limited: {
        queue: 'rateLimit',
        rate: '2/s',
        max: 2,
        duration: 1000,
        scope: major < 5 ? 'workers of this process' : 'all workers of the queue',
      },
      slow: true,
      removed: { queue: 'rateLimit', rate: '0', scope: any },
      nonsense: 'invalid',
    }),
  },
  // A worker waits for up to half a minute where nobody wakes it.
  { scenario: 'rateLifted', saw: () => ({ rate: '0', held: 2, soon: true }) },
  {
    scenario: 'figures',
    saw: () => ({
      depths: [1, 2],
      worker: {
        concurrency: 1,
        queues: ['figures'],
        active: [{ id: 'figures:1', name: 'runs' }],
        registered: ['runs', 'waits'],
        stats: { workers: 1, paused: false, library: any },
      },
      inventory: true,
      actions: true,
      events: 0,
    }),
  },
];
