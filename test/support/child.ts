import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { waitFor } from './net.js';

const REGISTER = fileURLToPath(new URL('../../register.mjs', import.meta.url));

export interface ChildOptions {
  /** Folder of `target()`: what the program imports is resolved from there. */
  readonly target: string;
  /** The program: a file that is copied below the target, or its text. */
  readonly program: string | { readonly source: string; readonly name: string };
  readonly args?: readonly string[];
  /** The whole environment beside PATH: nothing of ours leaks into the child. */
  readonly env?: Readonly<Record<string, string>>;
  /** Without `--import register.mjs`: false. Default true. */
  readonly register?: boolean;
  /** Another Node than the running one. */
  readonly node?: string;
  readonly nodeArgs?: readonly string[];
}

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Child extends AsyncDisposable {
  readonly process: ChildProcess;
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  /** Resolves when a line of the standard output contains the text. */
  printed(text: string | RegExp, timeout?: number): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when it has ended by itself or by a signal; rejects with its output when it takes longer. */
  ended(timeout?: number): Promise<ChildEnd>;
}

/** Groups of the children that may still run: they end with this process. */
const groups = new Set<number>();
process.on('exit', () => {
  for (const pid of groups) killGroup(pid, 'SIGKILL');
});

/**
 * Runs a program with the agent as a user would: `node --import @z4j/bare/register program`. Disposing it kills the
 * process with all its children and removes its file.
 */
export async function runChild(options: ChildOptions): Promise<Child> {
  const folder = await mkdtemp(join(options.target, 'run-'));
  const { program } = options;
  const file = join(folder, typeof program === 'string' ? basename(program) : program.name);
  if (typeof program === 'string') await copyFile(program, file);
  else await writeFile(file, program.source);
  const flags = options.register === false ? [] : ['--import', pathToFileURL(REGISTER).href];
  const child = spawn(
    options.node ?? process.execPath,
    [...(options.nodeArgs ?? []), ...flags, file, ...(options.args ?? [])],
    {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, Z4J_HOME: join(folder, '.z4j'), ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    },
  );
  const end = once(child, 'exit').then(([code, signal]): ChildEnd => ({ code, signal }));
  const pid = child.pid;
  if (pid === undefined) {
    await rm(folder, { recursive: true, force: true });
    await end;
    throw new Error('unreachable');
  }
  groups.add(pid);
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk;
  });
  const report = (): string => `stdout:\n${out.slice(-4000)}\nstderr:\n${err.slice(-4000)}`;
  return {
    process: child,
    pid,
    stdout: () => out,
    stderr: () => err,
    async printed(text, timeout = 15_000) {
      const found = (): boolean => (typeof text === 'string' ? out.includes(text) : text.test(out));
      await waitFor(found, { timeout, what: () => `output ${text}\n${report()}` });
    },
    kill(signal) {
      child.kill(signal);
    },
    async ended(timeout = 15_000) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`The child runs on after ${timeout} ms\n${report()}`)), timeout);
      });
      try {
        return await Promise.race([end, late]);
      } finally {
        clearTimeout(timer);
      }
    },
    async [Symbol.asyncDispose]() {
      killGroup(pid, 'SIGKILL');
      await end;
      groups.delete(pid);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody of it is left.
  }
}
