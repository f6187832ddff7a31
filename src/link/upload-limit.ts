/** What a brain takes unless its operator raised it (8192), less a little. */
const START = 8000;
const MAX = 1024 * 1024;
const MIN = 512;

/** The body limit of uploads, found out: a brain does not tell it. Pure. */
export class UploadLimit {
  #size = START;
  #ceiling = MAX;

  /** Bytes of the largest body to send now. */
  get size(): number {
    return this.#size;
  }

  /** A body was taken: a larger one may be, too. */
  taken(bytes: number): void {
    if (bytes * 2 > this.#size) this.#size = Math.min(Math.max(this.#size, bytes) * 2, this.#ceiling);
  }

  /** 413. */
  refused(bytes: number): void {
    this.#size = Math.max(Math.floor(Math.min(bytes, this.#size) / 2), MIN);
    this.#ceiling = this.#size;
  }
}
