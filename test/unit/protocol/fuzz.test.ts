import { expect, it } from 'vitest';
import * as protocol from '../../../src/protocol/index.js';
import { fuzz } from './hostile.mjs';

it('answers 20 000 hostile frames with a frame or a ProtocolError', { timeout: 120_000 }, () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  console.log(`fuzz seed ${seed}`);
  const { accepted, refused, slowest } = fuzz(protocol, { seed, frames: 20_000 });
  expect(accepted).toBeGreaterThan(1000);
  for (const code of ['json', 'depth', 'number', 'version', 'frame', 'payload', 'signature', 'replay']) {
    expect(refused[code], code).toBeGreaterThan(0);
  }
  expect(slowest).toBeLessThan(5000);
});
