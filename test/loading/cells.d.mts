export interface Cell {
  readonly group: string;
  readonly name: string;
  readonly node: string;
  readonly fixture: string;
  readonly flags: readonly string[];
  readonly program: string;
  readonly targets: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly job?: boolean;
  readonly neighbour?: boolean;
}

export function cells(): Cell[];
export function quick(): Cell[];
