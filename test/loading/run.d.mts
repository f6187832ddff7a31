import type { Cell } from './cells.mjs';

export interface Output {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; what is still running after the limit (ms) is killed. */
export function run(
  binary: string,
  args: readonly string[],
  options: { cwd: string; env?: Readonly<Record<string, string>>; limit?: number },
): Promise<Output>;

/** A folder with programs and preloads, where the libraries of a fixture and `@z4j/bare` resolve. */
export function stage(fixture: string): Promise<string>;

/** Installs the package as it is published into `<folder>/node_modules`. */
export function installSelf(folder: string): Promise<string>;

/** The object behind the last line of an output that begins with `word`. */
export function told(stdout: string, word: string): unknown;

/** Runs one cell; resolves with the reasons why it fails, none when it passes. */
export function runCell(cell: Cell): Promise<string[]>;

/** The binary of a Node version or release line. */
export function node(version: string): Promise<string>;
