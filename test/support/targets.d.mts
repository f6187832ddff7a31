/** npm dependencies: package name to exact version or range. */
export type Dependencies = Readonly<Record<string, string>>;

/** The fixture packages that `npm test` installs before it runs anything; a test names one with `target()`. */
export const targets: Readonly<Record<string, Dependencies>>;

/** Folder of a fixture of the table; installed when it is not there. */
export function target(name: string): Promise<string>;

/**
 * Installs packages into a folder of their own below `.cache/targets` and resolves with it. A second call with the
 * same name and dependencies costs one look at the disk; callers in several processes at once do not disturb each
 * other. Files written below the folder resolve these packages.
 */
export function installTarget(name: string, dependencies: Dependencies): Promise<string>;
