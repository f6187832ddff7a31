import { beforeEach, describe, expect, test } from 'vitest';
import { type EnginePatch, hub, isSupported, type PatchedModule, type TargetReport } from '../../../src/hub.js';
import { InstrumentError, instrument } from '../../../src/loading/instrument.js';

const folder = '/app/node_modules/bullmq';
const entry: PatchedModule = { package: 'bullmq', version: '5.81.5', file: `${folder}/dist/cjs/index.js` };
const inner: PatchedModule = { ...entry, file: `${folder}/dist/cjs/classes/job.js`, inner: true };

let engine = 0;
/** Each under a name of its own: an engine that failed once stays off. */
const patch = (body: EnginePatch['patch'] = () => true): EnginePatch => ({
  engine: `engine-${engine++}`,
  packages: ['bullmq'],
  supported: { from: '3.0.0', below: '7.0.0' },
  patch: body,
});

let heard: TargetReport[];
beforeEach(() => {
  hub.targets.length = 0;
  heard = [];
  hub.onTarget = (report) => heard.push(report);
});

describe('offer', () => {
  test('one report per copy, of the entry module where it was seen', () => {
    const target = patch();
    hub.offer(target, {}, inner, 'compile');
    hub.offer(target, {}, { ...inner, file: `${folder}/dist/cjs/classes/worker.js` }, 'compile');
    hub.offer(target, {}, entry, 'compile');
    hub.offer(target, {}, entry, 'append');
    hub.offer(target, {}, { ...entry, file: '/other/node_modules/bullmq/dist/cjs/index.js' }, 'compile');
    expect(hub.targets.map(({ file }) => file)).toEqual([entry.file, '/other/node_modules/bullmq/dist/cjs/index.js']);
    expect(heard).toHaveLength(3);
  });

  test('an inner file without anything to patch is no news', () => {
    expect(
      hub.offer(
        patch(() => false),
        {},
        inner,
        'compile',
      ),
    ).toBe('shape not recognised');
    expect(hub.targets).toEqual([]);
    hub.offer(
      patch(() => false),
      {},
      entry,
      'compile',
    );
    expect(hub.targets).toMatchObject([{ outcome: 'shape not recognised' }]);
  });

  test('a patch that throws is told with its error and never asked again', () => {
    const error = new Error('no');
    let calls = 0;
    const target = patch(() => {
      calls++;
      throw error;
    });
    hub.offer(target, {}, entry, 'compile');
    hub.offer(target, {}, { ...entry, file: '/other/node_modules/bullmq/index.js' }, 'compile');
    expect(calls).toBe(1);
    expect(hub.targets).toMatchObject([{ outcome: 'failed', error }, { outcome: 'failed' }]);
  });

  test('a listener that throws is not our fault', () => {
    hub.onTarget = () => {
      throw new Error('listener');
    };
    expect(hub.offer(patch(), {}, entry, 'compile')).toBe('patched');
  });

  test('a version out of range is left alone', () => {
    let calls = 0;
    const target = patch(() => ++calls > 0);
    expect(hub.offer(target, {}, { ...entry, version: '7.0.0' }, 'compile')).toBe('unsupported version');
    expect(hub.offer(target, {}, { ...entry, version: '2.4.0' }, 'compile')).toBe('unsupported version');
    expect(calls).toBe(0);
  });
});

test.each([
  ['3.0.0', true],
  ['6.99.1', true],
  ['7.0.0-beta.1', false],
  ['2.99.99', false],
  ['unknown', true],
])('version %s is supported: %s', (version, supported) => {
  expect(isSupported(version, { from: '3.0.0', below: '7.0.0' })).toBe(supported);
});

describe('instrument', () => {
  const cron = (): { schedule(): object; createTask(): object } => ({ schedule: () => ({}), createTask: () => ({}) });

  test('knows a library by its shape', () => {
    const library = cron();
    const { schedule } = library;
    expect(instrument(library)).toBe(true);
    expect(library.schedule).not.toBe(schedule);
    expect(hub.targets).toMatchObject([{ engine: 'node-cron', eye: 'instrument', outcome: 'patched' }]);
  });

  test('is idempotent', () => {
    const library = cron();
    instrument(library);
    const { schedule } = library;
    expect(instrument(library)).toBe(true);
    expect(library.schedule).toBe(schedule);
  });

  test('says no to anything else', () => {
    for (const library of [{}, undefined, 3, { Worker: 1 }, () => 1]) expect(instrument(library)).toBe(false);
    expect(hub.targets).toEqual([]);
  });

  test('respects the range when it is told the version', () => {
    expect(instrument(cron(), { package: 'node-cron', version: '99.0.0' })).toBe(false);
    expect(hub.targets).toMatchObject([{ outcome: 'unsupported version' }]);
  });

  test('refuses a package that nobody knows', () => {
    expect(() => instrument({}, { package: 'celery' })).toThrow(InstrumentError);
  });
});
