import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  FLAVOURS,
  type Flavour,
  killHost,
  type Place,
  place,
  runHost,
  type Seen,
  type Servers,
  startServers,
} from './hosts.js';

// Several programs share a machine that may be busy.
vi.setConfig({ testTimeout: 180_000 });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers[Symbol.asyncDispose]());

const run = (flavour: Flavour, body: string, at: Place = place(servers, flavour)): Promise<Seen> =>
  runHost({ flavour, place: at, body });

const SIX = FLAVOURS.filter(({ family }) => family === 'six');
const MODERN = FLAVOURS.filter(({ family }) => family !== 'legacy');
const LEGACY = FLAVOURS.filter(({ family }) => family === 'legacy');

const without = (kinds: string[] | undefined, kind: string): string[] | undefined =>
  kinds?.filter((one) => one !== kind);

describe.concurrent.each(SIX)('retries of $name', (flavour) => {
  it('with a backoff: retried until it works, or until the attempts are used up', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       let n = 0;
       const backoff = ({ attempt }) => (attempt > 1 ? null : 50);
       define(agenda, 'once', async () => { n += 1; if (n === 1) throw new Error('first'); }, { backoff });
       define(agenda, 'never', async () => { throw new Error('always'); }, { backoff });
       await agenda.start();
       await agenda.now('once', {}); await agenda.now('never', {});
       await until(() => count('succeeded', 'once') && count('failed', 'never'));
       await agenda.stop();`,
    );
    expect(without(seen.tasks('once')[0], 'sent')).toEqual(['received', 'started', 'retried', 'started', 'succeeded']);
    expect(without(seen.tasks('never')[0], 'sent')).toEqual(['received', 'started', 'retried', 'started', 'failed']);
    expect(seen.of('task.started', 'once').map(({ data }) => data.attempt)).toEqual([1, 2]);
    expect(seen.of('task.retried', 'once')[0]?.data).toMatchObject({ retry_count: 1, delay: expect.any(Number) });
  });

  it('of a recurring job: each execution has one end', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       define(agenda, 'tick', async () => { throw new Error('always'); }, { backoff: ({ attempt }) => (attempt > 1 ? null : 50) });
       await agenda.start();
       await agenda.every('1 second', 'tick', {});
       await until(() => count('failed', 'tick') >= 3);
       await agenda.stop();`,
    );
    const [first, second, third] = seen.tasks('tick');
    expect(first).toEqual(['received', 'started', 'retried', 'failed']);
    expect(second).toEqual(['received', 'started', 'failed']);
    // The count stays after the budget is used up: the next occurrence has none.
    expect(third).toEqual(['received', 'started', 'failed']);
  });

  it('tells the runs of several agendas once, whoever repeats their events', async () => {
    const seen = await run(
      flavour,
      `const one = await ready(make({ name: 'one' }));
       const two = await ready(make({ name: 'two' }));
       for (const agenda of [one, two]) define(agenda, 'shared', async () => {});
       await one.start(); await two.start();
       for (let i = 0; i < 6; i += 1) await one.now('shared', { i });
       await until(() => count('succeeded', 'shared') >= 6);
       await sleep(400);
       await one.stop(); await two.stop();`,
    );
    for (const kinds of seen.tasks('shared')) {
      expect(without(kinds, 'sent')).toEqual(['received', 'started', 'succeeded']);
    }
    expect(seen.tasks('shared')).toHaveLength(6);
  });
});

describe.concurrent.each(MODERN)('locks of $name', (flavour) => {
  it('an expired run is told as such, and its late end is no second one', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       agenda.on('error', () => {});
       let n = 0;
       define(agenda, 'slow', async () => { n += 1; await sleep(n === 1 ? 2500 : 10); }, { lockLifetime: 700 });
       await agenda.start();
       await agenda.now('slow', {});
       await until(() => count('succeeded', 'slow') && count('rejected', 'slow'));
       await agenda.stop();`,
    );
    const kinds = without(seen.tasks('slow')[0], 'sent');
    expect(kinds?.slice(0, 3)).toEqual(['received', 'started', 'retried']);
    expect(kinds?.filter((kind) => kind === 'succeeded')).toHaveLength(1);
    expect(String(seen.of('task.retried', 'slow')[0]?.data.reason)).toMatch(/canceled|expired/);
  });
});

describe.concurrent.each(LEGACY)('locks of $name', (flavour) => {
  it('a second run beside the first is marked', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       let n = 0;
       define(agenda, 'slow', async () => { n += 1; await sleep(n === 1 ? 1500 : 10); }, { lockLifetime: 400 });
       await agenda.start();
       await agenda.now('slow', {});
       await until(() => count('succeeded', 'slow') && count('rejected', 'slow'));
       await agenda.stop();`,
    );
    const [first, second] = seen.of('task.started', 'slow');
    expect(first?.data.lock_expired).toBeUndefined();
    expect(second?.data.lock_expired).toBe(true);
    expect(String(seen.of('task.retried', 'slow')[0]?.data.reason)).toContain('lock of the run expired');
    expect(seen.of('task.succeeded', 'slow').length).toBe(1);
  });
});

describe.concurrent.each(FLAVOURS)('crashes of $name', (flavour) => {
  it('a run that died is found when the job runs again', async () => {
    const at = place(servers, flavour);
    const before = await killHost(
      {
        flavour,
        place: at,
        body: `const agenda = await ready(make());
          define(agenda, 'dies', async () => { print({ running: true }); await sleep(60000); }, { lockLifetime: 1000 });
          await agenda.start();
          await agenda.now('dies', { kept: true });
          await sleep(60000);`,
      },
      '"running":true',
    );
    expect(before.of('task.started', 'dies')).toHaveLength(1);
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       define(agenda, 'dies', async () => {}, { lockLifetime: 1000 });
       await agenda.start();
       await until(() => count('succeeded', 'dies'));
       await agenda.stop();`,
      at,
    );
    const [kinds] = seen.tasks('dies');
    expect(kinds, seen.stdout).toEqual(['retried', 'received', 'started', 'succeeded']);
    expect(seen.of('task.retried', 'dies')[0]?.data.reason).toMatch(/^lost/);
    expect(seen.of('task.received', 'dies')[0]?.data.args).toEqual([{ kept: true }]);
    expect(seen.of('task.started', 'dies')[0]?.taskId).toBe(before.of('task.started', 'dies')[0]?.taskId);
  });
});

describe.concurrent.each(FLAVOURS)('the host of $name', (flavour) => {
  it('is what it was: rejections, a broken recorder, a second patch', async () => {
    const patch = new URL('../../../dist/instrumentations/agenda/patch.js', import.meta.url).href;
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       const { agendaPatch, instrumentAgenda } = await import('${patch}');
       const { agendaPatch: second } = await import('${patch}?second');
       const file = { package: 'agenda', version: '6.0.0', file: '' };
       for (const one of [agendaPatch, second]) hub.offer(one, { Agenda: agenda.constructor }, file, 'cache');
       instrumentAgenda(agenda);
       define(agenda, 'once', async () => {});
       await agenda.start();
       await agenda.now('once', {});
       await ended('once');
       print({ shape: [agenda.emit.name, agenda.emit.length, Object.keys(agenda.constructor.prototype).includes('emit')] });
       hub.recorder = { record() { throw new Error('broken'); }, engine() {} };
       const job = await agenda.now('once', {});
       print({ id: String(job.attrs._id).length > 0, same: job.constructor.name });
       const saved = agenda.create('once', {});
       print({ promise: saved.save() instanceof Promise });
       await sleep(300);
       await agenda.stop();`,
    );
    expect(seen.tasks('once')).toHaveLength(1);
    expect(without(seen.tasks('once')[0], 'sent')).toEqual(['received', 'started', 'succeeded']);
    expect(seen.value('shape')).toEqual(['emit', 1, false]);
    expect(seen.value('promise')).toBe(true);
    expect(seen.value('id')).toBe(true);
  });

  it('a job that its application saves again or removes is not a new one', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       define(agenda, 'later', async () => {});
       const job = await agenda.schedule(new Date(Date.now() + 3600e3), 'later', { a: 1 });
       await job.priority('high').save();
       await job.remove();
       await sleep(50);`,
    );
    expect(seen.tasks('later')).toEqual([['sent', 'received', 'revoked']]);
    expect(seen.of('task.received', 'later')[0]?.data.eta).toMatch(/^20/);
    expect(seen.events.some(({ kind }) => kind === 'worker.online')).toBe(false);
  });
});

describe.concurrent.each(FLAVOURS.filter(({ store }) => store !== 'redis'))(
  'the other way to load $name',
  (flavour) => {
    it('tells the same', async () => {
      const body = `const agenda = await ready(make());
      define(agenda, 'job', async () => {});
      await agenda.start();
      await agenda.now('job', {});
      await ended('job');
      await agenda.stop();`;
      const seen = await runHost({ flavour, place: place(servers, flavour), body, esm: flavour.family !== 'six' });
      expect(without(seen.tasks('job')[0], 'sent'), seen.stdout + seen.stderr).toEqual([
        'received',
        'started',
        'succeeded',
      ]);
    });
  },
);

describe.concurrent.each(SIX)('the end of $name', (flavour) => {
  it('drain() waits for the ends; a stop in the middle of a run loses nothing that happened', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       define(agenda, 'work', async () => { await sleep(400); });
       await agenda.start();
       await agenda.now('work', {});
       await until(() => count('started', 'work'));
       await agenda.drain();
       print({ drained: count('succeeded', 'work') });
       const other = await ready(make());
       define(other, 'cut', async () => { await sleep(400); });
       await other.start();
       await other.now('cut', {});
       await until(() => count('started', 'cut'));
       await other.stop();
       await sleep(600);`,
    );
    expect(seen.value('drained')).toBe(1);
    expect(without(seen.tasks('cut')[0], 'sent')).toEqual(['received', 'started', 'succeeded']);
  });
});

describe.concurrent.each(MODERN.filter(({ store }) => store !== 'redis'))('forked jobs of $name', (flavour) => {
  it('are told once, by the parent', async () => {
    const at = place(servers, flavour);
    const six = flavour.family === 'six';
    const seen = await run(
      flavour,
      `const fs = await import('node:fs');
       const self = fs.readFileSync(process.argv[1], 'utf8').split('(async () => {')[0];
       const extension = ${six} ? 'mjs' : 'cjs';
       fs.writeFileSync('child.' + extension, self + \`
         process.on('message', (message) => { if (message === 'cancel' || message?.type === 'cancel') process.exit(2); });
         (async () => {
           const [, , name, id] = process.argv;
           const agenda = make({ name: 'child', forkedWorker: true });
           await agenda.ready;
           define(agenda, 'fine', async () => {});
           define(agenda, 'bad', async () => { throw new Error('in the child'); });
           if (${six}) await agenda.runForkedJob(id);
           else { const job = await agenda.getForkedJob(id); await job.runJob(); }
           process.exit(0);
         })().catch((error) => { process.send(JSON.stringify({ name: error.name, message: error.message }), () => process.exit(1)); });
       \`);
       const agenda = await ready(make({ forkHelper: { path: './child.' + extension, options: {} } }));
       define(agenda, 'fine', async () => {});
       define(agenda, 'bad', async () => {});
       print({ file: String(agenda.definitions.fine.filePath) });
       await agenda.start();
       // One after the other: two children that make the schema of PostgreSQL at once are in each other's way.
       for (const name of ['fine', 'bad']) { const job = agenda.create(name, {}); job.forkMode(true); await job.schedule(new Date()).save(); await ended(name); }
       await agenda.stop();`,
      at,
    );
    expect(without(seen.tasks('fine')[0], 'sent'), seen.stdout + seen.stderr).toEqual([
      'received',
      'started',
      'succeeded',
    ]);
    expect(without(seen.tasks('bad')[0], 'sent')).toEqual(['received', 'started', 'failed']);
    expect(String(seen.of('task.failed', 'bad')[0]?.data.exception)).toContain('in the child');
    expect(String(seen.value('file'))).toContain('host.');
  });
});
