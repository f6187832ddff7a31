import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Redis, startRedis } from '../../support/redis.js';
import { fresh, type Play, play, VERSIONS } from './play.js';

// s sent, r received, x started, ok succeeded, f failed, t retried, v revoked, o rejected, q(…) put back
type Expected = { readonly [jobId: string]: string };

interface Case {
  readonly scenario: string;
  readonly from?: number;
  readonly below?: number;
  /** Sensitive to time: has a process for itself. */
  readonly alone?: boolean;
  /** Queue; default that of the scenario. */
  readonly queue?: string;
  readonly jobs: Expected | ((result: Play, version: string) => Expected);
}

interface FlowIds {
  readonly id: string;
  readonly children: readonly FlowIds[];
}

const flow = (result: Play): FlowIds => result.outcomes.flow?.value as FlowIds;

const pickedUpFirst = (result: Play) =>
  result.outcomes.flowPickedUpFirst?.value as Record<'parent' | 'child' | 'leaf', string>;
const failedParent = (result: Play) => result.outcomes.failedParent?.value as { parent: string; child: string };

const CASES: readonly Case[] = [
  { scenario: 'plain', jobs: { 1: 's r x ok' } },
  {
    scenario: 'falsy',
    jobs: { v0: 's r x ok', v1: 's r x ok', v2: 's r x ok', v3: 's r x ok', v4: 's r x ok' },
  },
  { scenario: 'retries', jobs: { 1: 's r x t x t x f' } },
  { scenario: 'retriesAtOnce', jobs: { 1: 's r x t x f' } },
  { scenario: 'recovers', jobs: { 1: 's r x t x ok' } },
  { scenario: 'unrecoverable', jobs: { 1: 's r x f' } },
  { scenario: 'discard', below: 6, jobs: { 1: 's r x f' } },
  { scenario: 'backoffStops', jobs: { 1: 's r x f' } },
  { scenario: 'bulk', jobs: { 1: 's r x ok', 2: 's r x ok' } },
  { scenario: 'removal', jobs: { 1: 's r v', 2: 's r v', 3: 's r x ok' } },
  { scenario: 'putBackDelayed', jobs: { 1: 's r x q(delayed) x ok' } },
  { scenario: 'putBackWaiting', from: 5, jobs: { 1: 's r x q(moved back to waiting) x ok' } },
  { scenario: 'waitsForChildren', jobs: { 1: 's r x q(waiting for children) x ok' } },
  { scenario: 'waitsForChildren', queue: 'waitsForChildren-children', jobs: { 1: 's r x ok' } },
  { scenario: 'rateLimited', jobs: { 1: 's r x q(rate limited) x ok' } },
  { scenario: 'flow', jobs: (result) => ({ [flow(result).id]: 's r x ok' }) },
  {
    scenario: 'flow',
    queue: 'flow-children',
    jobs(result) {
      const { children } = flow(result);
      const ids = children.flatMap((child) => [child.id, ...child.children.map(({ id }) => id)]);
      return Object.fromEntries(ids.map((id) => [id, 's r x ok']));
    },
  },
  {
    scenario: 'failedParent',
    jobs: (result, version) => ({
      [failedParent(result).parent]: since(version, [5, 49, 2]) ? 's r f' : 's r',
    }),
  },
  {
    scenario: 'failedParent',
    queue: 'failedParent-children',
    jobs: (result) => ({ [failedParent(result).child]: 's r x f' }),
  },
  { scenario: 'legacyRepeat', below: 6, jobs: (result) => iterations(result, 'legacyRepeat') },
  { scenario: 'legacyRepeat', from: 6, jobs: { 1: 's r x ok' } },
  { scenario: 'scheduler', from: 5, jobs: (result) => iterations(result, 'scheduler') },
  {
    scenario: 'stalledForGood',
    alone: true,
    jobs: (_, version) => ({ 1: since(version, [5, 53, 2]) ? 's r x q(stalled) f o' : 's r x f o' }),
  },
  { scenario: 'flowPickedUpFirst', alone: true, jobs: (result) => ({ [pickedUpFirst(result).parent]: 's r x ok' }) },
  { scenario: 'stalledOnce', alone: true, jobs: { 1: 's r x q(stalled) x ok o' } },
  { scenario: 'stalledAndBackAtOnce', alone: true, jobs: { 1: 's r x q(stalled) x ok o' } },
  { scenario: 'lockLost', jobs: { 1: 's r x o' } },
  { scenario: 'closedByForce', jobs: { 1: 's r x o' } },
  { scenario: 'byHand', jobs: { 1: 's r x ok', 2: 's r x f' } },
  { scenario: 'startedLater', jobs: { 1: 's r x ok' } },
  {
    scenario: 'many',
    jobs: Object.fromEntries(Array.from({ length: 200 }, (_, i) => [i + 1, 's r x ok'])),
  },
  { scenario: 'derived', jobs: { 1: 's r x ok' } },
  { scenario: 'sandboxFork', jobs: { 1: 's r x ok', 2: 's r x f' } },
  { scenario: 'sandboxThreads', jobs: { 1: 's r x ok' } },
  { scenario: 'sandboxAdds', jobs: { 1: 's r x ok' } },
  { scenario: 'sandboxAdds', queue: 'sandboxAdds-added', jobs: { 1: 's r' } },
  {
    scenario: 'duplicates',
    // Of the held ones the second is no row.
    jobs: (_, version) => ({ same: 's r s x ok', ...(since(version, [5, 17, 0]) ? { 3: 's r s' } : {}) }),
  },
  { scenario: 'frozen', jobs: { 1: 's r x ok', 2: 's r x ok' } },
  { scenario: 'refusedAdd', jobs: {} },
  { scenario: 'prefixed', queue: 'app{x}:prefixed', jobs: { 1: 's r x ok' } },
  { scenario: 'spans', jobs: { 1: 's r x ok' } },
];

const iterations = (result: Play, queue: string): Expected =>
  // Each is told once; the last one waits, or was never added.
  Object.fromEntries(
    Object.entries(result.sequences(queue)).map(([id, sequence]) => [id, sequence === 's r' ? 's r' : 's r x ok']),
  );

const since = (version: string, [major, minor, patch]: readonly [number, number, number]): boolean => {
  const [a = 0, b = 0, c = 0] = version.split('.').map(Number);
  return a !== major ? a > major : b !== minor ? b > minor : c >= patch;
};

let redis: Redis;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

const applies = ({ from = 0, below = 99 }: Case, major: number): boolean => major >= from && major < below;

for (const version of VERSIONS) {
  const major = Number(version.split('.')[0]);
  const cases = CASES.filter((one) => applies(one, major) && !one.alone);

  for (const mode of ['cjs', 'esm'] as const) {
    describe(`bullmq ${version} in a host of ${mode === 'cjs' ? 'CommonJS' : 'ES modules'}`, () => {
      let result: Play;

      beforeAll(async () => {
        const scenarios = [...new Set(cases.map(({ scenario }) => scenario))];
        result = await play({ version, mode, port: await fresh(redis.port), scenarios });
      }, 90_000);

      it('leaves the host as it is', () => {
        expect(result.stderr).toBe('');
        expect(result.exitCode).toBe(0);
        expect(result.warnings).toEqual([]);
        expect(Object.entries(result.outcomes).filter(([, { error }]) => error)).toEqual([]);
        expect(result.targets.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
        // Only the sandbox that adds a job has something to tell by itself.
        expect(result.engines.filter(({ pid }) => pid === result.pid)).toMatchObject([{ engine: 'bullmq' }]);
        const strangers = new Set(result.engines.flatMap(({ pid }) => (pid === result.pid ? [] : [pid])));
        expect(strangers.size).toBe(1);
      });

      it.each(cases)('$scenario $queue', ({ scenario, queue = scenario, jobs }) => {
        expect(result.sequences(queue)).toEqual(typeof jobs === 'function' ? jobs(result, version) : jobs);
      });

      it('tells what the brain reads', () => {
        const [sent] = result.of('plain', '1', 'task.sent');
        expect(sent).toMatchObject({
          engine: 'bullmq',
          data: { task_name: 'greet', queue: 'plain', priority: 'high' },
        });
        const [received] = result.of('plain', '1', 'task.received');
        expect(received).toMatchObject({
          occurredAt: sent?.occurredAt,
          data: { args: [{ n: 7 }], kwargs: {}, attempts: 2, priority_number: 5, queue: 'plain' },
        });
        expect(result.of('plain', '1', 'task.started')[0]).toMatchObject({ workerOf: 'plain', data: { attempt: 1 } });
        const [succeeded] = result.of('plain', '1', 'task.succeeded');
        expect(succeeded).toMatchObject({ workerOf: 'plain', data: { result: { got: 7 }, queue: 'plain' } });
        expect(succeeded?.data.runtime_ms).toBeGreaterThanOrEqual(0);
      });

      it('keeps falsy results apart', () => {
        const results = [0, 1, 2, 3, 4].map((i) => result.of('falsy', `v${i}`, 'task.succeeded')[0]?.data.result);
        expect(results).toEqual([0, '', false, null, null]);
      });

      it('counts attempts and tells errors without frames of ours', () => {
        const attempts = result.of('retries', '1', 'task.started').map(({ data }) => data.attempt);
        expect(attempts).toEqual([1, 2, 3]);
        const retried = result.of('retries', '1', 'task.retried');
        expect(retried.map(({ data }) => data.retry_count)).toEqual([1, 2]);
        if (major > 3) expect(retried.map(({ data }) => data.delay)).toEqual([30, 30]);
        const [failed] = result.of('retries', '1', 'task.failed');
        expect(failed?.data.exception).toBe('TypeError: no 1');
        expect(failed?.data.traceback).toMatch(/^TypeError: no 1\n\s+at boom .*scenarios\.cjs/);
        expect(failed?.data.traceback).not.toContain('/instrumentations/');
      });

      it('links flows', () => {
        const root = `flow:${flow(result).id}`;
        for (const child of flow(result).children) {
          const [received] = result.of('flow-children', child.id, 'task.received');
          expect(received?.data).toMatchObject({ parent_task_id: root, root_task_id: root });
          for (const leaf of child.children) {
            const parent = `flow-children:${child.id}`;
            expect(result.of('flow-children', leaf.id, 'task.sent')[0]?.data).toMatchObject({
              parent_task_id: parent,
              root_task_id: root,
            });
          }
        }
      });

      it('marks additions that may have met a job', () => {
        const sent = result.of('duplicates', 'same', 'task.sent');
        expect(sent.map(({ data }) => data.maybe_duplicate)).toEqual([true, true]);
        expect(result.of('duplicates', 'same', 'task.received')[0]?.data.args).toEqual([{ n: 1 }]);
      });

      it('takes the span of the caller, not the one the worker was made in', () => {
        const spanOf = (kind: string) => result.of('spans', '1', kind)[0]?.data.span_id;
        expect(spanOf('task.sent')).toBe('2'.repeat(16));
        expect(spanOf('task.started')).toBeUndefined();
      });

      it('leaves options and errors of the host alone', () => {
        expect(result.outcomes.frozen?.value).toEqual({ same: true });
        expect(result.outcomes.refusedAdd?.value).toEqual({ message: expect.stringMatching(/exceeds the limit/) });
      });

      it('announces workers and their end', () => {
        const of = (kind: string) => result.events.filter((event) => event.kind === kind);
        expect(of('worker.online').filter(({ workerOf }) => workerOf === 'plain')).toHaveLength(1);
        const gone = of('worker.offline').filter(({ data }) => data.worker_name === 'test:plain');
        expect(gone).toMatchObject([{ data: { reason: 'closed' } }]);
        expect(gone[0]).not.toHaveProperty('workerOf');
      });
    });
  }
}

describe.each(VERSIONS)('bullmq %s under time', (version) => {
  const cases = CASES.filter(({ alone }) => alone);
  let result: Play;

  beforeAll(async () => {
    const scenarios = cases.map(({ scenario }) => scenario);
    result = await play({ version, mode: 'cjs', port: await fresh(redis.port), scenarios });
  }, 90_000);

  it.each(cases)('$scenario', ({ scenario, jobs }) => {
    expect(result.sequences(scenario)).toEqual(typeof jobs === 'function' ? jobs(result, version) : jobs);
  });

  it('links flows whose jobs are picked up before their add is answered', () => {
    const ids = pickedUpFirst(result);
    const root = `flowPickedUpFirst:${ids.parent}`;
    const of = (id: string) => result.of('flowPickedUpFirst-children', id, 'task.received').map(({ data }) => data);
    const child = { parent_task_id: root, root_task_id: root };
    expect(of(ids.child)).toEqual([expect.objectContaining(child)]);
    const leaf = { parent_task_id: `flowPickedUpFirst-children:${ids.child}`, root_task_id: root };
    expect(of(ids.leaf)).toEqual([expect.objectContaining(leaf)]);
  });
});
