export { Agent, AgentError, type AgentState, type AgentStatus } from './agent.js';
export { type AgentOptions, SETTINGS, SettingError, type Settings } from './config.js';
export {
  Dispatcher,
  type DispatcherCounts,
  type DispatcherOptions,
  EVENT_KINDS,
  type WorkerNames,
} from './dispatcher.js';
export type * from './engine.js';
export { asHost, CommandError, hub, isSupported, isTraced, quietly } from './engine.js';
export { HelloBuilder, type HelloOptions } from './hello.js';
export type { Journal, JournalBatch, Losses, Position, RecordMeta } from './journal/journal.js';
export { type MemoryJournalOptions, memoryJournal } from './journal/memory.js';
export { InstrumentError, type InstrumentOptions, instrument } from './loading/instrument.js';
export { REDACTED, Redactor, RedactorError, type RedactorOptions } from './redactor.js';
export { VERSION } from './version.js';
