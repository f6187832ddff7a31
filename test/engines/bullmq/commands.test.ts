import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Redis, startRedis } from '../../support/redis.js';
import { CASES } from './commands-cases.js';
import { fresh, type Play, play, VERSIONS } from './play.js';

let redis: Redis;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

for (const version of VERSIONS) {
  const major = Number(version.split('.')[0]);
  const cases = CASES.filter(({ from = 0 }) => major >= from);

  describe(`operating bullmq ${version}`, () => {
    let result: Play;

    beforeAll(async () => {
      const scenarios = cases.map(({ scenario }) => scenario);
      result = await play({ version, mode: 'cjs', port: await fresh(redis.port), scenarios });
    }, 90_000);

    it('leaves the host as it is', () => {
      expect(result.stderr).toBe('');
      expect(result.exitCode).toBe(0);
      expect(result.warnings).toEqual([]);
    });

    it.each(cases)('$scenario', ({ scenario, saw, jobs }) => {
      expect(result.outcomes[scenario]?.error).toBeUndefined();
      expect(result.outcomes[scenario]?.value).toEqual(saw(major));
      if (jobs !== undefined) expect(result.sequences(scenario)).toEqual(jobs);
    });

    it('reaches the broker of a process that has only a worker', async () => {
      const { outcomes } = await play({
        version,
        mode: 'esm',
        port: await fresh(redis.port),
        scenarios: ['workerOnly'],
      });
      expect(outcomes.workerOnly?.value).toEqual({ depth: 0, submitted: true, maxLen: '40', connections: 0 });
    });

    if (major < 5) return;

    it('shows and changes the schedules of queues it works on', async () => {
      const { outcomes } = await play({
        version,
        mode: 'cjs',
        port: await fresh(redis.port),
        scenarios: ['schedules'],
        env: { TZ: 'Asia/Tokyo' },
      });
      const yearly = { name: 'schedules:yearly', expression: '0 0 1 1 *', kind: 'cron', enabled: true, next: true };
      expect(outcomes.schedules?.error).toBeUndefined();
      expect(outcomes.schedules?.value).toEqual({
        first: [yearly],
        triggered: true,
        same: true,
        disabled: [{ ...yearly, enabled: false, next: false }],
        native: 0,
        updated: [{ ...yearly, expression: '0 0 2 1 *' }],
        data: { n: 1 },
        created: 'schedules:hourly',
        both: 2,
        left: 1,
        badName: 'invalid',
        missing: 'not_found',
        memory: [null, 'text'],
        changes: true,
        // It is planned in the zone of its process.
        local: { timezone: 'Asia/Tokyo', hour: 3 },
      });
    });
  });
}
