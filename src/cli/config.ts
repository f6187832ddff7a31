import { readConfiguration, SETTINGS, type Settings } from '../config.js';
import type { CliOptions } from './options.js';

const show = (value: unknown): string => (Array.isArray(value) ? value.join(',') : String(value));

const fallback = (key: keyof Settings): string => {
  const { shown, fallback: value } = SETTINGS[key];
  return shown ?? `\`${show(value)}\``;
};

/** The settings as README shows them. */
export function settingsMarkdown(): string {
  const rows = (Object.keys(SETTINGS) as (keyof Settings)[]).map((key) => {
    const { env, help, file } = SETTINGS[key] as { env: string; help: string; file?: true };
    return `| \`${env}\`${file ? `, \`${env}_FILE\`` : ''} | ${help} | ${fallback(key)} |`;
  });
  return ['| variable | meaning | default |', '|---|---|---|', ...rows, ''].join('\n');
}

/** Prints every setting and the value that is in force in this environment. */
export function showSettings({ json, markdown }: CliOptions): number {
  if (markdown) {
    process.stdout.write(settingsMarkdown());
    return 0;
  }
  const { settings, problems } = readConfiguration();
  const rows = (Object.keys(SETTINGS) as (keyof Settings)[]).map((key) => {
    const { env, help, secret } = SETTINGS[key] as { env: string; help: string; secret?: true };
    const value = show(settings[key]);
    return { env, option: key, value: secret && value !== '' ? '…' : value, help };
  });
  if (json) process.stdout.write(`${JSON.stringify({ settings: rows, problems }, null, 2)}\n`);
  else {
    const width = Math.max(...rows.map(({ env }) => env.length));
    for (const { env, value, help } of rows) {
      process.stdout.write(`${env.padEnd(width)}  ${value || '-'}\n${' '.repeat(width)}  ${help}\n`);
    }
    for (const problem of problems) process.stderr.write(`${problem}\n`);
  }
  return problems.length === 0 ? 0 : 1;
}
