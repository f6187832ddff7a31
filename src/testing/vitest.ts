import { test as base } from 'vitest';
import type { StubBrainOptions } from './options.js';
import { type StubBrain, stubBrain } from './stub-brain.js';

/** What the fixture adds to a test's context. */
export interface BrainFixture {
  /** Override with `test.extend({ brainOptions: { … } })` or `test.scoped({ brainOptions: { … } })`. */
  readonly brainOptions: StubBrainOptions;
  /** A stub brain of the test's own, ended with it. */
  readonly brain: StubBrain;
}

/**
 * vitest's `test` with a `brain`:
 *
 * ```ts
 * import { test } from '@z4j/bare/testing/vitest';
 * test('jobs are reported', async ({ brain }) => {
 *   const worker = spawn(process.execPath, ['--import', '@z4j/bare/register', 'worker.js'], { env: { ...process.env, ...brain.env } });
 *   await brain.waitFor({ eventType: 'task_succeeded' });
 *   worker.kill();
 * });
 * ```
 */
export const test = base.extend<BrainFixture>({
  brainOptions: {},
  brain: async ({ brainOptions }, use) => {
    await using brain = await stubBrain(brainOptions);
    await use(brain);
  },
});
