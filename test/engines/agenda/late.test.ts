import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FLAVOURS, place, runHost, type Servers, startServers } from './hosts.js';

vi.setConfig({ testTimeout: 180_000 });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers[Symbol.asyncDispose]());

const INDEX = new URL('../../../dist/src/index.js', import.meta.url).href;

/** An agenda at work: a schedule, a job that waits for a word, and one that has failed by then. */
const BEFORE = `
  const agenda = make();
  await (agenda.ready ?? agenda._ready);
  const gates = {};
  const wait = (name) => new Promise((resolve) => { gates[name] = resolve; });
  define(agenda, 'tick', async () => {});
  define(agenda, 'long', () => wait('long'));
  define(agenda, 'doomed', async () => { await wait('doomed'); throw new Error('no luck'); });
  await agenda.start();
  await agenda.every('1 hour', 'tick', { a: 1 }, { skipImmediate: true });
  await agenda.now('long', { n: 1 });
  await agenda.now('doomed', { n: 2 });
  while (!gates.long || !gates.doomed) await new Promise((resolve) => setTimeout(resolve, 20));
`;

describe.concurrent.each(FLAVOURS)('attached late to $name', (flavour) => {
  it.each(['agenda', '{ Agenda: agenda.constructor }'])(
    'the inventory and what happens from then on are right: by %s',
    async (given) => {
      const seen = await runHost({
        flavour,
        place: place(servers, flavour),
        before: BEFORE,
        body: `
        const { instrument } = await import('${INDEX}');
        print({ observed: [instrument(${given}), instrument(${given})] });
        // While an agenda has nothing to do, nothing of the library leads to it.
        if ('${given}' === 'agenda') await until(() => engine('agenda') && scheduler().serves(), 'an idle agenda');
        gates.long(); gates.doomed();
        await ended('long'); await ended('doomed');
        await until(() => scheduler().serves());
        await rows('agenda', 'late');
        print({ inventory: engine('agenda').inventory() });
        define(agenda, 'after', async () => {});
        await agenda.now('after', {});
        await ended('after');
        scheduler().onDefined((schedule, isStored) => (isStored ? { enabled: false } : undefined));
        await until(async () => (await scheduler().list()).every(({ enabled }) => !enabled), 'what the operator decided');
        await sleep(200);
        await agenda.stop();`,
      });
      expect(seen.value('observed')).toEqual([true, true]);
      expect(seen.tasks('long'), seen.stdout).toEqual([['received', 'started', 'succeeded']]);
      expect(seen.tasks('doomed')).toEqual([['received', 'started', 'failed']]);
      expect(seen.of('task.received', 'long')[0]?.data.args).toEqual([{ n: 1 }]);
      expect(seen.of('task.failed', 'doomed')[0]?.data).toMatchObject({ attempt: 1, exception: 'Error: no luck' });
      const [started] = seen.of('task.started', 'long');
      const [ended] = seen.of('task.succeeded', 'long');
      expect(ended?.data.runtime_ms).toBe((ended?.occurredAt ?? 0) - (started?.occurredAt ?? 0));
      expect(seen.tasks('after')[0]?.filter((kind) => kind !== 'sent')).toEqual(['received', 'started', 'succeeded']);
      expect(seen.events.filter(({ kind }) => kind === 'worker.online')).toHaveLength(1);
      expect(seen.rows('late')).toMatchObject([{ name: 'tick', kind: 'interval', expression: '3600', enabled: true }]);
      expect(seen.value('inventory')).toMatchObject({ tasks: expect.arrayContaining(['tick', 'long', 'doomed']) });
    },
  );
});
