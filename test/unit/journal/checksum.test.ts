import { describe, expect, test } from 'vitest';
import { checksum } from '../../../src/journal/checksum.js';

const of = (bytes: Buffer, from = 0, to = bytes.length): number =>
  checksum(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), from, to);

describe('checksum', () => {
  test.each([
    ['', 0x02cc5d05],
    ['test', 0x3e2023cf],
    ['Hello, world!', 0x31b7405d],
    ['The quick brown fox jumps over the lazy dog', 0xe85ea4de],
  ])('of %j is that of xxHash32', (text, expected) => {
    expect(of(Buffer.from(text))).toBe(expected);
    const inside = Buffer.from(`xyz${text}z`);
    expect(of(inside, 3, inside.length - 1)).toBe(expected);
  });

  test('finds every change of one byte', () => {
    const bytes = Buffer.from('{"data":{},"engine":"bullmq","id":"1"}');
    const right = of(bytes);
    for (let at = 0; at < bytes.length; at++) {
      const before = bytes[at] as number;
      for (let value = 0; value < 256; value++) {
        if (value === before) continue;
        bytes[at] = value;
        expect(of(bytes)).not.toBe(right);
      }
      bytes[at] = before;
    }
  });
});
