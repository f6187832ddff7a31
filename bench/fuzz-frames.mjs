// One million hostile frames against the frame reader: node bench/fuzz-frames.mjs [seed] [frames]. Needs `npm run build`.
import * as protocol from '../dist/src/protocol/index.js';
import { fuzz } from '../test/unit/protocol/hostile.mjs';

const seed = Number(process.argv[2] ?? Math.floor(Math.random() * 2 ** 32));
const frames = Number(process.argv[3] ?? 1_000_000);
console.log(`seed ${seed}, ${frames} frames`);
const started = performance.now();
const { accepted, refused, slowest } = fuzz(protocol, { seed, frames });
const seconds = (performance.now() - started) / 1000;
console.log(`accepted ${accepted}, refused ${JSON.stringify(refused)}`);
console.log(
  `${seconds.toFixed(1)} s, ${Math.round(frames / seconds)} frames/s with their making, slowest read ${slowest.toFixed(1)} ms`,
);
