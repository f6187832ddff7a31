import { inject } from 'vitest';
import { type BrainProject, createProject } from './brain.js';
import type {} from './brain-setup.js';

/** A new project of the brain that all files of `interop` share. */
export function sharedBrain(name?: string): Promise<BrainProject> {
  const address = inject('brain');
  if (address === undefined) throw new Error('No brain here: guard the tests with describe.runIf(hasBrain())');
  return createProject(address, name);
}
