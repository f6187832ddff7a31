import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { settingsMarkdown } from '../../src/cli/config.js';

const README = new URL('../../README.md', import.meta.url);

// `npx vitest run --project package readme -u` writes it.
test('the table of settings is the one of src/config.ts', async () => {
  const text = await readFile(README, 'utf8');
  const [start, end] = ['<!-- settings:start -->', '<!-- settings:end -->'];
  const before = text.slice(0, text.indexOf(start) + start.length);
  const after = text.slice(text.indexOf(end));
  await expect(`${before}\n\n${settingsMarkdown()}\n${after}`).toMatchFileSnapshot('../../README.md');
});
