import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  canonical,
  decodeSecret,
  FrameReader,
  isObject,
  legacyPurgeToken,
  parseInstant,
  projectSecret,
  purgeToken,
  type ReadObject,
  readJson,
  Signer,
} from '../../../src/protocol/index.js';

function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), 'utf8')) as T;
}

function object(text: string): ReadObject {
  const value = readJson(text);
  if (!isObject(value)) throw new Error('not an object');
  return value;
}

describe('golden vectors', () => {
  it('canonical-json', () => {
    const { cases } = vectors<{ cases: { wire: string; canonical: string }[] }>('canonical-json');
    expect(cases.length).toBe(400);
    for (const { wire, canonical: expected } of cases) {
      expect(canonical(readJson(wire)), wire).toBe(expected);
      expect(canonical(readJson(Buffer.from(wire))), wire).toBe(expected);
    }
  });

  it('envelopes', () => {
    const { cases } = vectors<{ cases: { secret_b64url: string; envelope: string; hmac: string }[] }>('envelopes');
    expect(cases.length).toBe(40);
    for (const { secret_b64url, envelope, hmac } of cases) {
      const { agent_id, project_id, session_id, ...frame } = object(envelope);
      const ids = { agentId: String(agent_id), projectId: String(project_id), sessionId: String(session_id) };
      const signer = new Signer(decodeSecret(secret_b64url), ids);
      expect(signer.signObject(frame)).toBe(hmac);
      expect(
        signer.sign(
          `"id":${canonical(frame.id)},"nonce":${canonical(frame.nonce)},"payload":${canonical(frame.payload)}`,
          `,"seq":${canonical(frame.seq)}`,
          `,"ts":${canonical(frame.ts)},"type":${canonical(frame.type)},"v":2`,
        ),
      ).toBe(hmac);
    }
  });

  it('signed-frames', () => {
    interface Session {
      secret_b64url: string;
      agent_id: string;
      project_id: string;
      session_id: string;
      frames: string[];
    }
    const { sessions } = vectors<{ sessions: Session[] }>('signed-frames');
    let frames = 0;
    for (const session of sessions) {
      const ids = { agentId: session.agent_id, projectId: session.project_id, sessionId: session.session_id };
      const signer = new Signer(decodeSecret(session.secret_b64url), ids);
      let now = 0;
      const reader = new FrameReader(signer, { now: () => now });
      for (const raw of session.frames) {
        now = parseInstant(String(object(raw).ts))?.ms ?? 0;
        const frame = reader.read(raw);
        expect(['command', 'event_batch_ack']).toContain(frame.type);
        expect(() => reader.read(raw)).toThrow(expect.objectContaining({ code: 'replay' }));
        const other = new FrameReader(new Signer(decodeSecret(session.secret_b64url), { ...ids, sessionId: 'x' }));
        expect(() => other.read(raw)).toThrow(expect.objectContaining({ code: 'signature' }));
        frames++;
      }
    }
    expect(frames).toBeGreaterThan(100);
  });

  it('project-secret', () => {
    const { cases } = vectors<{ cases: { master_utf8: string; project_id: string; secret_hex: string }[] }>(
      'project-secret',
    );
    for (const { master_utf8, project_id, secret_hex } of cases) {
      expect(projectSecret(master_utf8, project_id).toString('hex')).toBe(secret_hex);
    }
    expect(
      projectSecret('0123456789abcdef0123456789abcdef', '11111111-2222-3333-4444-555555555555').toString('hex'),
    ).toBe('22db067e987dbace112fba8fcf1d1a33834eb6df26c40aa2c90705468a18e4b9');
  });

  it('purge-token', () => {
    interface Case {
      secret_b64url: string;
      queue: string;
      depth: number;
      token: string;
      legacy_unkeyed_token: string;
    }
    for (const { secret_b64url, queue, depth, token, legacy_unkeyed_token } of vectors<{ cases: Case[] }>('purge-token')
      .cases) {
      expect(purgeToken(decodeSecret(secret_b64url), queue, depth)).toBe(token);
      expect(legacyPurgeToken(queue, depth)).toBe(legacy_unkeyed_token);
    }
  });
});
