import type { Dependencies } from '../support/targets.mjs';

export const MAIN: Dependencies;
export const FIXTURES: Readonly<Record<string, Dependencies>>;
export const QUIET: Readonly<Record<string, string>>;
