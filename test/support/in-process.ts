import { hub } from '../../src/hub.js';

// Agents in the tests' own process observe no libraries: those are loaded by child processes.
hub.loaded ??= () => undefined;
