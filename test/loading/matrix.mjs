/**
 * The matrix of Node versions × module shapes × runners × neighbours; every cell is a process of its own.
 *
 *     node test/loading/matrix.mjs [--quick] [--only text] [--node 20,26] [--jobs 2]
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { cells, quick } from './cells.mjs';
import { runCell } from './run.mjs';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    node: { type: 'string' },
    jobs: { type: 'string', default: String(availableParallelism()) },
  },
});

const versions = values.node?.split(',');
const wanted = (values.quick ? quick() : cells()).filter(
  ({ group, name, node }) =>
    (values.only === undefined || `${group} ${name}`.includes(values.only)) && (versions?.includes(node) ?? true),
);

const results = new Map();
const queue = wanted.values();
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (const cell of queue) {
      const reasons = await runCell(cell).catch((error) => [String(error?.stack ?? error)]);
      results.set(cell, reasons);
      if (reasons.length > 0) console.log(`✗ ${cell.name}, Node ${cell.node}\n    ${reasons.join('\n    ')}`);
    }
  }),
);

const table = {};
for (const [{ group, name, node }, reasons] of results) {
  table[`${group}: ${name}`] ??= {};
  table[`${group}: ${name}`][node] = reasons.length === 0 ? 'ok' : 'FAIL';
}
console.table(table);
const failed = [...results.values()].filter((reasons) => reasons.length > 0).length;
console.log(`${results.size - failed} of ${results.size} cells pass`);
process.exitCode = failed === 0 && results.size > 0 ? 0 : 1;
