/**
 * How a brain may be shown schedules.
 * - `sequenced`: from 1.13 on (protocol.md §7).
 * - `plain`: before 1.8, as events without numbers.
 * - `none`: 1.8–1.12 change a schedule by `schedule.external.control` only, and a connection lost during one makes the
 *   stream ambiguous for ever; and over long-poll, which has no streams and does not tell a version.
 */
export type Mirror = 'sequenced' | 'plain' | 'none';

/** By the `brain_version` of `hello_ack`; a version that is not understood is a later one. */
export function mirrorOf(version: string): Mirror {
  if (version === LONGPOLL) return 'none';
  const [major = NaN, minor = NaN] = version.split('.', 2).map(Number);
  if (Number.isNaN(major) || Number.isNaN(minor) || major > 1) return 'sequenced';
  if (major < 1 || minor < 8) return 'plain';
  return minor < 13 ? 'none' : 'sequenced';
}

/** Stands for the version of a brain that is reached by long-poll. */
export const LONGPOLL = 'longpoll';
