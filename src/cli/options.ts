/** Flags of every command. */
export interface CliOptions {
  readonly json: boolean;
  readonly markdown: boolean;
}
