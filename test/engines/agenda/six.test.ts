import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FLAVOURS, place, runHost, type Servers, startServers } from './hosts.js';

vi.setConfig({ testTimeout: 180_000 });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers[Symbol.asyncDispose]());

const AGENDA = new URL('../../../dist/instrumentations/agenda/index.js', import.meta.url).href;
const SIX = FLAVOURS.filter(({ family }) => family === 'six');

describe.concurrent.each(SIX)('what only $name has', (flavour) => {
  const run = (body: string) => runHost({ flavour, place: place(servers, flavour), body });

  it('jobs that are removed when they are done end once, and nobody lists schedules for them', async () => {
    const seen = await run(`
      const agenda = await ready(make());
      define(agenda, 'short', async () => {}, { removeOnComplete: true });
      define(agenda, 'tick', async () => {});
      await agenda.start();
      let changes = 0;
      scheduler().onChange(() => { changes += 1; });
      const during = async (key, call) => { changes = 0; await call(); print({ [key]: changes }); };
      const gone = async (name) => (await agenda.queryJobs({ name })).jobs.length === 0;
      await during('shortLived', async () => {
        for (let i = 0; i < 5; i += 1) await agenda.now('short', { i });
        await ended('short', 5);
        await until(() => gone('short'));
      });
      await during('made', () => agenda.every('1 hour', 'tick', {}, { skipImmediate: true }));
      await during('removed', () => agenda.cancel({ name: 'tick' }));
      await during('all', () => agenda.cancelAll());
      const later = await agenda.schedule(new Date(Date.now() + 3600e3), 'short', {});
      await during('later', () => later.remove());
      await agenda.stop();`);
    expect(seen.value('shortLived'), seen.stdout).toBe(0);
    expect(seen.value('made')).toBeGreaterThan(0);
    expect(seen.value('removed')).toBeGreaterThan(0);
    const kinds = seen.tasks('short').map((each) => each.filter((kind) => kind !== 'sent'));
    expect(kinds.filter((each) => each.join() === 'received,started,succeeded')).toHaveLength(5);
    expect(kinds.filter((each) => each.join() === 'received,revoked')).toHaveLength(1);
    expect(seen.value('later')).toBe(0);
  });

  it('jobs of an agenda with an engine of its own go by the name of that', async () => {
    const seen = await run(`
      const { AgendaEngine } = await import('${AGENDA}');
      // One after the other: the backend of PostgreSQL cannot make one table twice at a time.
      const mail = make({ name: 'mail' });
      hub.live(new AgendaEngine({ agenda: mail, namespace: 'mail' }));
      await ready(mail);
      const other = await ready(make({ name: 'other' }));
      define(mail, 'send', async () => {});
      define(other, 'tidy', async () => {});
      await mail.start(); await other.start();
      await mail.now('send', {}); await other.now('tidy', {});
      await ended('send'); await ended('tidy');
      await mail.every('1 hour', 'send', {}, { skipImmediate: true });
      await rows('agenda-mail', 'mail');
      print({ known: [...hub.engines.keys()].sort(), tasks: engine('agenda-mail').inventory().tasks });
      await mail.stop(); await other.stop();`);
    const engines = (name: string) =>
      [...new Set(['sent', 'started', 'succeeded'].map((kind) => `task.${kind}`))].map(
        (kind) => seen.of(kind, name)[0]?.engine,
      );
    expect(engines('send'), seen.stdout).toEqual(['agenda-mail', 'agenda-mail', 'agenda-mail']);
    expect(engines('tidy')).toEqual(['agenda', 'agenda', 'agenda']);
    expect(seen.value('known')).toEqual(['agenda', 'agenda-mail']);
    expect(seen.value('tasks')).toEqual(['send']);
    expect(seen.rows('mail').map(({ name }) => name)).toEqual(['send']);
    const online = seen.events.filter(({ kind }) => kind === 'worker.online');
    expect(online.map((event) => event.engine).sort()).toEqual(['agenda', 'agenda-mail']);
  });

  it('a job that is unique is one task, however often it is asked for', async () => {
    const seen = await run(`
      const agenda = await ready(make());
      define(agenda, 'once', async () => {});
      const ids = new Set();
      for (let i = 0; i < 3; i += 1) {
        const job = await agenda.create('once', { key: 'a' }).unique({ 'data.key': 'a' }).schedule(new Date(Date.now() + 500)).save();
        ids.add(String(job.attrs._id));
      }
      print({ ids: ids.size });
      await agenda.start();
      await ended('once');
      await sleep(400);
      await agenda.stop();`);
    expect(seen.value('ids'), seen.stdout).toBe(1);
    expect(seen.tasks('once')).toHaveLength(1);
    expect(seen.tasks('once')[0]?.filter((kind) => kind !== 'sent')).toEqual(['received', 'started', 'succeeded']);
    for (const { data } of seen.of('task.sent', 'once')) expect(data.maybe_duplicate).toBe(true);
  });
});
