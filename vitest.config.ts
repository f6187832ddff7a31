import { defineConfig } from 'vitest/config';

const minute = 60_000;

/** Servers, child processes and timers of real libraries: two at a time is what a small machine carries. */
const busy = { pool: 'forks', maxWorkers: 2, testTimeout: minute, hookTimeout: 2 * minute } as const;

export default defineConfig({
  test: {
    reporters: ['default', './test/support/closing-line.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/support/**/*.test.ts'],
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 20_000,
          hookTimeout: 30_000,
        },
      },
      { extends: true, test: { ...busy, name: 'engines', include: ['test/engines/**/*.test.ts'] } },
      { extends: true, test: { ...busy, name: 'loading', include: ['test/loading/**/*.test.ts'] } },
      {
        extends: true,
        test: { ...busy, name: 'faults', include: ['test/faults/**/*.test.ts'], testTimeout: 5 * minute },
      },
      {
        extends: true,
        test: {
          ...busy,
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          globalSetup: ['test/support/brain-setup.ts'],
          testTimeout: 2 * minute,
        },
      },
      { extends: true, test: { ...busy, name: 'package', include: ['test/package/**/*.test.ts'] } },
    ],
  },
});
