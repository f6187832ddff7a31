import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Postgres, startPostgres } from '../../support/postgres.js';
import { installTarget } from '../../support/targets.mjs';
import { CASES } from './commands-cases.js';
import { type Play, play } from './play.js';

const MAJOR = 6;

describe('operating bullmq 6.7 on PostgreSQL', () => {
  let postgres: Postgres;
  let result: Play;

  beforeAll(async () => {
    const folder = await installTarget('bullmq-backends', { bullmq: '6.7.0', redis: '6', pg: '8' });
    postgres = await startPostgres();
    const scenarios = CASES.map(({ scenario }) => scenario);
    const env = { TEST_BACKEND: 'postgres' };
    result = await play({ version: '6.7.0', mode: 'cjs', port: postgres.port, folder, scenarios, env });
  }, 120_000);

  afterAll(() => postgres?.stop());

  it('leaves the host as it is', () => {
    expect(result.stderr).toBe('');
    expect(result.exitCode).toBe(0);
    expect(result.warnings).toEqual([]);
  });

  it.each(CASES)('$scenario', ({ scenario, saw, jobs }) => {
    expect(result.outcomes[scenario]?.error).toBeUndefined();
    expect(result.outcomes[scenario]?.value).toEqual(saw(MAJOR));
    if (jobs !== undefined) expect(result.sequences(scenario)).toEqual(jobs);
  });
});
