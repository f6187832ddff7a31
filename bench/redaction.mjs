/**
 * What the redaction of one 8 KiB string costs at worst: `node bench/redaction.mjs` after `npm run build`.
 * Strings made of the beginnings of every pattern, alone and mixed; the target is 0.1 ms each. CPU time, not wall time,
 * so that other work on the machine counts less. `--seed=N` repeats a run.
 */
import { Redactor } from '../dist/src/index.js';

const SIZE = 8192;
const UNITS = [
  ...[
    'a@',
    'a@b.',
    '@',
    '@a.',
    'eyJ',
    'eyJa.',
    'eyJ.',
    '.',
    'a.',
    'Bearer ',
    'bearer\t\t',
    'r ',
    'postgres://',
    's://',
  ],
  ...[
    'redis://a:',
    'redis://:',
    'http://',
    '://',
    ':',
    '/',
    '123-45-',
    '1-',
    '123-',
    '-',
    '_',
    'sk_live_',
    'k_',
    'ghp_',
  ],
  ...[
    'github_pat_',
    'b_',
    'whsec_',
    'xoxb-',
    'xox-',
    'AKIA',
    'AIza',
    'SKa',
    'SG.',
    'g.',
    'a',
    '0',
    ' ',
    '\t',
    '"',
    '\\',
  ],
  ...['-----BEGIN ', '-----BEGIN RSA ', 'BEGIN ', 'https://hooks.slack.com/services/T', '%', '\u0001', '\0', '\ud800'],
  ...['é', '日', '😀', 'ſ', 'eyJſ', 'bearer\u00a0', '١', '١-', '١١١-١١-'],
];

const seed = Number(process.argv.find((arg) => arg.startsWith('--seed='))?.slice(7) ?? Date.now() % 100_000);
let state = seed;
const random = () => {
  state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
  return state / 0x7fffffff;
};

function fill(unit) {
  const text = unit.repeat(Math.floor(SIZE / Buffer.byteLength(unit)));
  // A flat string: one made by `repeat` is a tree that the first reader pays for.
  return text.isWellFormed() ? Buffer.from(text).toString() : JSON.parse(JSON.stringify(text));
}

function microseconds(print, text, rounds = 12) {
  for (let i = 0; i < 40; i++) print(text);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    for (let i = 0; i < 20; i++) print(text);
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / 20);
  }
  return best;
}

const redactor = new Redactor();
const print = (text) => redactor.print(text);
const mixed = Array.from({ length: 200 }, () =>
  Array.from({ length: 2 + Math.floor(random() * 3) }, () => UNITS[Math.floor(random() * UNITS.length)]).join(''),
);
const bare = microseconds((text) => {
  let sum = 0;
  for (let i = 0; i < text.length; i++) sum += text.charCodeAt(i);
  return sum;
}, fill('word '));
const results = [...UNITS, ...mixed].map((unit) => ({ unit, us: microseconds(print, fill(unit)) }));
results.sort((a, b) => b.us - a.us);

console.log(`seed ${seed}, node ${process.version}; µs for ${SIZE} bytes, the slowest first`);
for (const { unit, us } of results.slice(0, 12)) console.log(us.toFixed(1).padStart(8), JSON.stringify(unit));
console.log(`${bare.toFixed(1).padStart(8)} for nothing but reading the units: the yardstick of a busy machine`);
console.log(`median ${results[results.length >> 1].us.toFixed(1)}, target 100`);

console.log('\ngrowth: the same text at 8 KiB and at 1/4 of it (linear: 4)');
for (const { unit } of results.slice(0, 5)) {
  const text = fill(unit);
  const part = fill(unit).slice(0, text.length >> 2);
  const ratio = microseconds(print, text) / microseconds(print, JSON.parse(JSON.stringify(part)), 40);
  console.log(ratio.toFixed(1).padStart(8), JSON.stringify(unit));
}

console.log('\nhuge values, one print each');
const keys = Object.fromEntries(Array.from({ length: 1_000_000 }, (_, i) => [`key${i}`, i]));
const huge = {
  'array of 10 000 000 numbers': new Array(10_000_000).fill(1),
  'object of 1 000 000 keys': keys,
  'string of 100 MB': 'x'.repeat(100_000_000),
  'array of 1 000 000 strings of 1 KiB': new Array(1_000_000).fill('s'.repeat(1024)),
  'Map of 1 000 000': new Map(Object.entries(keys)),
};
for (const [name, value] of Object.entries(huge)) {
  const start = performance.now();
  const text = redactor.print(value);
  console.log(`${(performance.now() - start).toFixed(1).padStart(8)} ms ${Buffer.byteLength(text)} bytes  ${name}`);
}
