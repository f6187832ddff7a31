/** A brain for tests; see `stubBrain`. The vitest fixture is in `@z4j/bare/testing/vitest`. */
export type { StubHello } from './brain-wire.js';
export type {
  Misbehaviour,
  StubAgent,
  StubBrainOptions,
  StubCommand,
  StubCommandOutcome,
  StubCounts,
  StubOperation,
  StubOperationOutcome,
} from './options.js';
export type { StubEvent, StubTask, StubWorker, TaskState } from './projection.js';
export type { StubSchedule } from './schedule-streams.js';
export { type EventPattern, StubBrain, StubTimeoutError, stubBrain } from './stub-brain.js';
