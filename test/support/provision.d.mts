/** What a run may need; `packages` are this project's own, `targets` the libraries it patches, `dist` the build. */
export type Part = 'node' | 'packages' | 'redis' | 'postgres' | 'brain' | 'targets' | 'dist';

/** Makes sure that the parts are there, installing what is missing; throws a sentence that says what to install. */
export function provision(parts: readonly Part[]): Promise<void>;

/** Folder of the PostgreSQL programs, the newest of this machine; undefined when there is none. */
export function postgresBin(): string | undefined;

/** The brain's program; undefined where there is no Python to run it. */
export function brainProgram(): string | undefined;
