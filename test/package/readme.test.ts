import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { SETTINGS } from '../../src/config.js';

const README = new URL('../../README.md', import.meta.url);

function settingsTable(): string {
  const rows = Object.entries(SETTINGS).map(([option, setting]) => {
    const { env, help, fallback, shown } = setting;
    const names = 'file' in setting ? `\`${env}\`, \`${env}_FILE\`` : `\`${env}\``;
    return `| ${names} | \`${option}\` | ${help} | ${shown ?? (fallback === '' ? 'none' : `\`${fallback}\``)} |`;
  });
  return ['| variable | option | meaning | default |', '|---|---|---|---|', ...rows].join('\n');
}

// `npx vitest run --project package readme -u` writes it.
test('the table of settings is the one of src/config.ts', async () => {
  const text = await readFile(README, 'utf8');
  const [start, end] = ['<!-- settings:start -->', '<!-- settings:end -->'];
  const before = text.slice(0, text.indexOf(start) + start.length);
  const after = text.slice(text.indexOf(end));
  await expect(`${before}\n\n${settingsTable()}\n\n${after}`).toMatchFileSnapshot('../../README.md');
});
