/** The program of the thread. */
export const ENTRY = new URL('./worker.js', import.meta.url);
