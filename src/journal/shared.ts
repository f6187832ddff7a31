import type { Losses, Position } from './journal.js';
import { KINDS, LossCounter } from './losses.js';

const END = 0;
const CONFIRMED = 1;
const FLOOR = 2;
const BYTES = 3;
const WAITING = 4;
const WRITER_LOSSES = 8;
const READER_LOSSES = WRITER_LOSSES + KINDS;
const CELLS = READER_LOSSES + KINDS;

export type LossSide = 'writer' | 'reader';

/**
 * What the writing and the reading side of one journal know of each other. Each number has one writer; the sides may
 * be in two threads.
 */
export class SharedState {
  readonly memory: SharedArrayBuffer;
  readonly #cells: BigInt64Array;

  constructor(memory = new SharedArrayBuffer(CELLS * 8)) {
    this.memory = memory;
    this.#cells = new BigInt64Array(memory);
  }

  /** Writer: everything before it is in the files. */
  get end(): Position {
    return this.#get(END);
  }
  set end(position: Position) {
    this.#set(END, position);
  }

  /** Reader: everything before it has arrived. */
  get confirmed(): Position {
    return this.#get(CONFIRMED);
  }
  set confirmed(position: Position) {
    this.#set(CONFIRMED, position);
  }

  /** Writer: the records before it are gone: they had arrived, or were evicted and counted. */
  get floor(): Position {
    return this.#get(FLOOR);
  }
  set floor(position: Position) {
    this.#set(FLOOR, position);
  }

  /** Writer: size of all segments. */
  get bytes(): number {
    return this.#get(BYTES);
  }
  set bytes(bytes: number) {
    this.#set(BYTES, bytes);
  }

  /** Reader: it has read everything and wants to be told of more. */
  wait(): void {
    this.#set(WAITING, 1);
  }

  /** Writer: whether the reader waits; it no longer does afterwards. */
  wake(): boolean {
    return Atomics.exchange(this.#cells, WAITING, 0n) === 1n;
  }

  lose(side: LossSide, kind: number, records: number): void {
    if (records > 0) Atomics.add(this.#cells, this.#lossCell(side) + Math.min(kind, KINDS - 1), BigInt(records));
  }

  /** Of one side, by kind. */
  lossesOf(side: LossSide): number[] {
    const first = this.#lossCell(side);
    return Array.from({ length: KINDS }, (_, kind) => this.#get(first + kind));
  }

  setLosses(side: LossSide, counts: readonly number[]): void {
    const first = this.#lossCell(side);
    for (let kind = 0; kind < KINDS; kind++) this.#set(first + kind, Math.trunc(counts[kind] ?? 0));
  }

  get losses(): Losses {
    const sum = new LossCounter();
    for (const side of ['writer', 'reader'] as const) {
      for (const [kind, records] of this.lossesOf(side).entries()) sum.add(kind, records);
    }
    return sum;
  }

  #lossCell(side: LossSide): number {
    return side === 'writer' ? WRITER_LOSSES : READER_LOSSES;
  }

  #get(cell: number): number {
    return Number(Atomics.load(this.#cells, cell));
  }

  #set(cell: number, value: number): void {
    Atomics.store(this.#cells, cell, BigInt(value));
  }
}
