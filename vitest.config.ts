import { defineConfig } from 'vitest/config';

const minute = 60_000;

/** Time for servers, child processes and real libraries on a small machine. */
const patient = { testTimeout: minute, hookTimeout: 2 * minute };

const project = (name: string, include: string, more: object = patient) => ({
  extends: true as const,
  test: { name, include: [include], ...more },
});

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    setupFiles: ['test/support/in-process.ts'],
    globalSetup: ['test/support/leftovers.ts'],
    reporters: ['default', './test/support/closing-line.ts'],
    projects: [
      project('unit', 'test/unit/**/*.test.ts', { testTimeout: 20_000, hookTimeout: 30_000 }),
      project('engines', 'test/{engines,support}/**/*.test.ts'),
      project('loading', 'test/loading/**/*.test.ts'),
      project('faults', 'test/faults/**/*.test.ts', { ...patient, testTimeout: 5 * minute }),
      project('interop', 'test/interop/**/*.test.ts', {
        ...patient,
        testTimeout: 2 * minute,
        globalSetup: ['test/support/brain-setup.ts'],
      }),
      project('package', 'test/package/**/*.test.ts'),
    ],
  },
});
