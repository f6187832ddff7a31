#!/usr/bin/env node
import { parseArgs } from 'node:util';
import type { CliOptions } from './options.js';

interface CliCommand {
  readonly help: string;
  /** Resolves with the exit code. */
  run(options: CliOptions, words: readonly string[]): Promise<number>;
}

const COMMANDS: { readonly [name: string]: CliCommand } = {
  config: {
    help: 'every setting: its variable, the value in force here, what it does',
    run: async (options) => (await import('./config.js')).showSettings(options),
  },
  check: {
    help: 'whether the brain can be reached and takes this token, secret and clock',
    run: async (options) => (await import('./check.js')).check(options),
  },
  doctor: {
    help: 'check, and whether this application can be observed: Node.js, libraries, flags, home',
    run: async (options) => (await import('./doctor.js')).doctor(options),
  },
  status: {
    help: 'the agents of this host: slots, journals, what waits to be sent',
    run: async (options) => (await import('./status.js')).status(options),
  },
  schedules: {
    help: 'what operators changed about schedules defined in code; `schedules reset <name>` takes it back',
    run: async (options, words) => (await import('./schedules.js')).schedules(options, words),
  },
};

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { help }]) => `  ${name.padEnd(width)}  ${help}`);
  return `Usage: z4j-bare <command> [--json]\n\n${lines.join('\n')}\n\nSettings come from the environment, see \`z4j-bare config\`.\n`;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
      version: { type: 'boolean', short: 'v', default: false },
    },
  });
  const [name = '', ...words] = positionals;
  if (values.version) {
    const { VERSION } = await import('../version.js');
    process.stdout.write(`${VERSION}\n`);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (values.help || command === undefined) {
    const asked = values.help || name === '';
    (asked ? process.stdout : process.stderr).write(asked ? usage() : `Unknown command ${name}\n\n${usage()}`);
    return asked ? 0 : 2;
  }
  return command.run(values, words);
}

// Sockets of the agent keep no process alive: without this a command would end before its answer.
const alive = setInterval(() => {}, 1 << 30);

main()
  .then(
    (code) => {
      process.exitCode = code;
    },
    (error: Error) => {
      process.stderr.write(`z4j-bare: ${error.message}\n`);
      process.exitCode = 2;
    },
  )
  .finally(() => clearInterval(alive));
