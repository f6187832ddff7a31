import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  type Authority,
  canonical,
  configuration,
  controlEventData,
  controlProjection,
  isObject,
  normaliseRow,
  type PlainObject,
  type ReadObject,
  readAuthority,
  readJson,
  rowDigest,
  type ScheduleRow,
  sameRow,
  snapshot,
  snapshotEventData,
} from '../../../src/protocol/index.js';

interface Case {
  authority: PlainObject;
  sequence: number;
  snapshot_id: string;
  rows_per_frame: number;
  raw_rows: string;
  rows_canonical: string[];
  row_digests: string[];
  configuration_canonical: string[];
  projection_canonical: string;
  snapshot_digest: string;
  frames: { body_canonical: string; frame_digest: string }[];
  control?: {
    parameters: {
      operation_id: string;
      expected_accepted_sequence: number;
      desired_projection_canonical: string;
      desired_projection_digest: string;
    };
    observed_canonical: string;
    observed_matches_desired: boolean;
    projection_canonical: string;
    payload_digest: string;
  };
}

const vectors = JSON.parse(readFileSync(new URL('../../vectors/external-schedules.json', import.meta.url), 'utf8')) as {
  cases: Case[];
  refused_rows: { why: string; row: PlainObject }[];
};

function read(text: string): ReadObject {
  const value = readJson(text);
  if (!isObject(value)) throw new Error('not an object');
  return value;
}

function rowsOf(text: string, owner: string): ScheduleRow[] {
  const rows = readJson(text);
  if (!Array.isArray(rows)) throw new Error('not a list');
  return rows.map((row) => normaliseRow(row as ReadObject, owner));
}

const authority: Authority = {
  stream_id: '11111111-1111-4111-8111-111111111111',
  epoch_uuid: '22222222-2222-4222-8222-222222222222',
  epoch_number: 7,
  owner: 'cron-jobs',
  source_scope: '{"kind":"scheduler-owner","owner":"cron-jobs","version":1}',
  adapter_instance_id: '33333333-3333-4333-8333-333333333333',
};
const minimal = { name: 'n', task_name: 't', kind: 'cron', expression: '* * * * *' };

describe('schedule rows', () => {
  it.each(vectors.cases.map((each, index) => [index, each] as const))('golden inventory %i', (_, each) => {
    const given = readAuthority(each.authority);
    const { rows, frames, text, digest } = snapshot({
      authority: given,
      sequence: each.sequence,
      snapshotId: each.snapshot_id,
      rows: rowsOf(each.raw_rows, given.owner),
      rowsPerFrame: each.rows_per_frame,
    });
    expect(rows.map(canonical)).toEqual(each.rows_canonical);
    expect(rows.map(rowDigest)).toEqual(each.row_digests);
    expect(rows.map((row) => canonical(configuration(row)))).toEqual(each.configuration_canonical);
    expect({ text, digest }).toEqual({ text: each.projection_canonical, digest: each.snapshot_digest });
    expect(frames).toEqual(each.frames.map((frame) => ({ text: frame.body_canonical, digest: frame.frame_digest })));

    if (each.control === undefined) return;
    const { parameters, observed_canonical, projection_canonical, payload_digest } = each.control;
    const observed = normaliseRow(read(observed_canonical), given.owner);
    const desired = read(parameters.desired_projection_canonical);
    expect(canonical(observed)).toBe(observed_canonical);
    expect(rowDigest(desired)).toBe(parameters.desired_projection_digest);
    expect(sameRow(observed, desired, ['next_run_at'])).toBe(each.control.observed_matches_desired);
    expect(sameRow({ ...observed, is_enabled: !observed.is_enabled }, desired, ['next_run_at'])).toBe(false);
    const projection = controlProjection({
      authority: given,
      sequence: parameters.expected_accepted_sequence + 1,
      operationId: parameters.operation_id,
      row: observed,
    });
    expect(projection).toEqual({ text: projection_canonical, digest: payload_digest });
  });

  it('the worked example of the protocol', () => {
    const rows = rowsOf(
      `[{"name":"tick","task_name":"tick","engine":"node-cron","kind":"interval","expression":"30","next_run_at":"2026-12-01T00:00:30Z","total_runs":4,"last_run_at":"2026-12-01T00:00:00.5Z"},
        {"name":"daily","task_name":"report","engine":"node-cron","kind":"cron","expression":"0 3 * * *","timezone":"Europe/Oslo","external_id":"daily#1","args":[1],"kwargs":{"ratio":0.5},"source":"node-cron:code"}]`,
      'cron-jobs',
    );
    const { digest, frames } = snapshot({
      authority,
      sequence: 1,
      snapshotId: '44444444-4444-4444-8444-444444444444',
      rows,
    });
    expect(digest).toBe('2ad9db9af9440b1fd1f68bc2f70821b883c06930744aef69ea12d7d4a6b736bc');
    expect(frames.map((frame) => frame.digest)).toEqual([
      'c73ce04ebda00c2d2b3c9dffd7dcf2180f6ae49642f5f447f2a044374207731f',
      'ec83b493b702091d39616d126219c1345914e4bf9ffb0704486eec71d631e27d',
    ]);
    const disabled = { ...(rows[1] as ScheduleRow), is_enabled: false };
    expect(rowDigest(disabled)).toBe('93b957f7108cf6d4bd7d095d92ba7255e268fcf1aec74a8335ff23e452b9265d');
    const control = controlProjection({
      authority,
      sequence: 2,
      operationId: '55555555-5555-4555-8555-555555555555',
      row: disabled,
    });
    expect(control.digest).toBe('61a82692d81ec475cb38421bb06f3875a3af9b776f797376a260bf89ec5fd5af');
    // Spliced event data are canonical themselves.
    for (const data of [snapshotEventData(frames[0] as never, 'activation'), controlEventData(control)]) {
      expect(canonical(readJson(data))).toBe(data);
    }
  });

  it.each(vectors.refused_rows.map(({ why, row }) => [why, row] as const))('refuses: %s', (_, row) => {
    const { name: _n, task_name: _t, ...rest } = minimal;
    expect(() => normaliseRow({ ...rest, ...row }, 'cron-x')).toThrow(expect.objectContaining({ code: 'row' }));
  });

  it('takes the row the refused ones were made of', () => {
    expect(normaliseRow(minimal, 'cron-x')).toMatchObject({ engine: 'cron', source_key: 'n', total_runs: 0 });
  });

  it.each([
    ['kind', 'every'],
    ['kind', undefined],
    ['expression', ''],
    ['expression', 'x'.repeat(1025)],
    ['priority', 'urgent'],
    ['is_enabled', 1],
    ['total_runs', 1.5],
    ['total_runs', '3'],
    ['total_runs', 2n ** 63n],
    ['name', 'x'.repeat(201)],
    ['task_name', '\u001f\u00a0'],
    ['queue', 5],
    ['source', 'celery-beat:static'],
    ['args', 'abc'],
    ['kwargs', 'abc'],
    ['next_run_at', '2026-02-30T00:00:00Z'],
    ['next_run_at', '0001-01-01T00:00:00+01:00'],
  ])('refuses %s = %s', (key, value) => {
    expect(() => normaliseRow({ ...minimal, [key]: value }, 'cron-x')).toThrow(key);
  });

  it('refuses two rows of one name or one key', () => {
    const row = (over: object): ScheduleRow => normaliseRow({ ...minimal, ...over }, 'cron-jobs');
    const make = (rows: ScheduleRow[]) => () => snapshot({ authority, sequence: 1, snapshotId: 's', rows });
    expect(make([row({ source_key: 'a' }), row({ source_key: 'b' })])).toThrow('`name`');
    expect(make([row({ source_key: 'a' }), row({ source_key: 'a', name: 'm' })])).toThrow('`source_key`');
  });

  it('cuts an inventory by bytes, in order, below the limit', () => {
    const rows = Array.from({ length: 100 }, (_, i) =>
      normaliseRow({ ...minimal, name: `n${i}`, kwargs: { pad: 'é'.repeat(i * 20) } }, 'cron-jobs'),
    );
    const maxFrameBytes = 16_384;
    const { frames, rows: sorted } = snapshot({ authority, sequence: 1, snapshotId: 's', rows, maxFrameBytes });
    expect(frames.length).toBeGreaterThan(5);
    const bodies = frames.map(({ text }) => JSON.parse(text) as { schedules: ScheduleRow[]; frame_count: number });
    expect(bodies.flatMap((body) => body.schedules.map((row) => row.name))).toEqual(sorted.map((row) => row.name));
    for (const [index, { text }] of frames.entries()) {
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(maxFrameBytes);
      expect(bodies[index]?.frame_count).toBe(frames.length - 1);
      expect(bodies[index]?.schedules.length === 0).toBe(index === frames.length - 1);
    }
    const huge = normaliseRow({ ...minimal, kwargs: { pad: 'x'.repeat(20_000) } }, 'cron-jobs');
    expect(() => snapshot({ authority, sequence: 1, snapshotId: 's', rows: [huge], maxFrameBytes })).toThrow(
      expect.objectContaining({ code: 'too_large' }),
    );
  });

  it('refuses an activation without its parts', () => {
    for (const key of Object.keys(authority)) {
      expect(() => readAuthority({ ...authority, [key]: null })).toThrow(expect.objectContaining({ code: 'payload' }));
    }
  });
});
