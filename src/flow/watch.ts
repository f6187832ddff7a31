import { RECEIVED, SENT, STARTED, SUCCEEDED, TOUCHED } from './kinds.js';
import { Runtimes } from './runtimes.js';

/**
 * What capture tells of one event. `remarkable`: the task is to be sent whatever happens. Numbers and a boolean, so
 * that it can be handed from thread to thread.
 */
export type Note = (kind: number, task: number, remarkable: boolean) => void;

/** The side of capture: sees each event as it is recorded, and notes how tasks begin and end. */
export class Watch {
  #on = false;
  readonly #note: Note;
  readonly #runtimes = new Runtimes();

  constructor(note: Note) {
    this.#note = note;
  }

  /**
   * `kind` and `task` as in `RecordMeta`, `runtimeMs` and `name` as far as the event has them. To be called before the
   * event is appended, while `on`.
   */
  captured(kind: number, task: number, runtimeMs: unknown, name: unknown): void {
    if (task === 0 || kind === RECEIVED || kind === STARTED) return;
    const remarkable =
      kind === SUCCEEDED
        ? this.#runtimes.isRemarkable(typeof name === 'string' ? name : '', Number(runtimeMs ?? 0) || 0)
        : kind !== SENT;
    this.#note(kind, task, remarkable);
  }

  /** An operator acts on the task: it is sent, watched or not. */
  touched(task: number): void {
    this.#note(TOUCHED, task, true);
  }

  /** False: nothing need be told. Set anew, the next task of every name is the first. */
  get on(): boolean {
    return this.#on;
  }
  set on(on: boolean) {
    if (on && !this.#on) this.#runtimes.clear();
    this.#on = on;
  }
}
