const ISO = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?:([Zz])|([+-])(\d\d):?(\d\d)(?::?(\d\d))?)$/;

/** A point in time with an offset; a local (naive) time is none. */
export interface Instant {
  /** Milliseconds since the epoch, whole. */
  readonly ms: number;
  /** Microseconds within the second, 0…999 999; further digits are cut off. */
  readonly micros: number;
}

/** Reads ISO 8601 date and time with `Z` or an offset; undefined for everything else. */
export function parseInstant(text: string): Instant | undefined {
  const match = ISO.exec(text);
  if (match === null) return undefined;
  const [, date, minutes, seconds = '00', fraction = '', , sign, h = '0', m = '0', s = '0'] = match;
  const whole = Date.parse(`${date}T${minutes}:${seconds}Z`);
  // Date.parse turns 24:00 and 30 February into other days; Python refuses them.
  if (Number.isNaN(whole) || !new Date(whole).toISOString().startsWith(`${date}T${minutes}`)) return undefined;
  if (Number(h) > 23 || Number(m) > 59 || Number(s) > 59) return undefined;
  const offset = (Number(h) * 3600 + Number(m) * 60 + Number(s)) * (sign === '-' ? -1000 : 1000);
  const micros = Number(fraction.slice(0, 6).padEnd(6, '0'));
  return { ms: whole - offset + Math.floor(micros / 1000), micros };
}

/** `2026-12-01T00:00:30.000000+00:00`; undefined outside of the years 1…9999. */
export function formatMicros({ ms, micros }: Instant): string | undefined {
  const text = new Date(ms).toISOString();
  if (!/^\d{4}-/.test(text) || text.startsWith('0000')) return undefined;
  return `${text.slice(0, 19)}.${String(micros).padStart(6, '0')}+00:00`;
}
