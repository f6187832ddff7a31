import type { TestProject } from 'vitest/node';
import { type BrainAddress, hasBrain, startBrain } from './brain.js';

declare module 'vitest' {
  interface ProvidedContext {
    brain: BrainAddress | undefined;
  }
}

/** Global setup of the project `interop`: one brain for all its files. */
export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  if (!hasBrain()) {
    project.provide('brain', undefined);
    return undefined;
  }
  const brain = await startBrain();
  project.provide('brain', { url: brain.url, cookie: brain.cookie, csrf: brain.csrf });
  return () => brain.dispose();
}
