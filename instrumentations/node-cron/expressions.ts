/**
 * Cron texts where the library is too generous (it accepts what a version drops silently) or has no answer (2.x and
 * 3.x know no next run).
 */
import { isSupported } from '../../src/engine.js';

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const MONTH_NAMES =
  /^(january|february|march|april|may|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)$/i;
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const DAY_NAMES = /^(sunday|monday|tuesday|wednesday|thursday|friday|saturday|sun|mon|tue|wed|thu|fri|sat)$/i;

interface Field {
  readonly label: string;
  readonly min: number;
  readonly max: number;
  readonly names?: { readonly pattern: RegExp; readonly list: readonly string[]; readonly first: number };
}

const FIELDS: readonly Field[] = [
  { label: 'second', min: 0, max: 59 },
  { label: 'minute', min: 0, max: 59 },
  { label: 'hour', min: 0, max: 23 },
  { label: 'day of month', min: 1, max: 31 },
  { label: 'month', min: 1, max: 12, names: { pattern: MONTH_NAMES, list: MONTHS, first: 1 } },
  { label: 'day of week', min: 0, max: 7, names: { pattern: DAY_NAMES, list: DAYS, first: 0 } },
];

const since = (version: string, from: string): boolean => isSupported(version, { from, below: '99.0.0' });

/** What a version understands beside numbers, names, ranges, steps and lists. */
function special(token: string, label: string, version: string): boolean {
  if (token === '?') return since(version, '4.6.0') && label.startsWith('day');
  if (label === 'day of month') {
    if (/^L$/i.test(token)) return since(version, '4.3.0');
    return /^(\d{1,2}W|L-\d{1,2})$/i.test(token) && since(version, '4.6.0');
  }
  if (label !== 'day of week') return false;
  if (/^[0-7]L$/i.test(token)) return since(version, '4.3.0');
  return /^[0-7]#[1-5]$/.test(token) && since(version, '4.5.0');
}

const split = (expression: string): string[] => {
  const fields = expression.trim().split(/\s+/);
  return fields.length === 5 ? ['0', ...fields] : fields;
};

function numberOf(token: string, { names }: Field): number {
  if (names?.pattern.test(token)) return names.list.indexOf(token.slice(0, 3).toLowerCase()) + names.first;
  return /^\d{1,2}$/.test(token) ? Number(token) : Number.NaN;
}

/** Values of one item of a list; undefined when it is none of the common forms. */
function values(token: string, field: Field): number[] | undefined {
  const [, range = '', , step = '1'] = /^([^/]+)(\/(\d{1,2}))?$/.exec(token) ?? [];
  if (range === '' || Number(step) === 0) return undefined;
  const max = field.label === 'day of week' && range === '*' ? 6 : field.max;
  const ends = range === '*' ? [field.min, max] : range.split('-').map((end) => numberOf(end, field));
  const [first = Number.NaN, last = first] = ends;
  if (ends.length > 2 || !(first >= field.min && last <= field.max)) return undefined;
  if (ends.length === 1 && step !== '1') return undefined;
  const found: number[] = [];
  const span = last >= first ? last - first : last - first + (field.max - field.min + 1);
  for (let offset = 0; offset <= span; offset += Number(step)) {
    const value = first + offset;
    found.push(value > field.max ? value - (field.max - field.min + 1) : value);
  }
  return found;
}

/** Why a version of node-cron would not do what the text says; undefined when it would. */
export function problem(expression: string, version: string): string | undefined {
  if (/^@\w+$/.test(expression)) {
    return since(version, '4.6.0') ? undefined : `node-cron ${version} does not know ${expression}`;
  }
  const fields = split(expression);
  if (fields.length !== 6) return `Expected 5 or 6 fields, got ${expression.trim().split(/\s+/).length}`;
  for (const [i, field] of FIELDS.entries()) {
    for (const token of (fields[i] as string).split(',')) {
      if (values(token, field) === undefined && !special(token, field.label, version)) {
        return `node-cron ${version} does not understand ${token} as ${field.label}`;
      }
    }
  }
  return undefined;
}

interface Wall {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function wallClock(instant: number, timezone: string | undefined): Wall {
  const key = timezone ?? '';
  let format = formats.get(key);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(key, format);
  }
  const parts = Object.fromEntries(format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]));
  return parts as unknown as Wall;
}

const asUtc = ({ year, month, day, hour, minute, second }: Wall): number =>
  Date.UTC(year, month - 1, day, hour, minute, second);

/** The first instant at which the clocks of the zone show `wall`; undefined when they skip it. */
function instantOf(wall: Wall, timezone: string | undefined): number | undefined {
  const wanted = asUtc(wall);
  const offsets = [-1, 1].map((side) => {
    const near = wanted + side * 86_400_000;
    return asUtc(wallClock(near, timezone)) - near;
  });
  const found = offsets
    .map((offset) => wanted - offset)
    .filter((instant) => asUtc(wallClock(instant, timezone)) === wanted);
  return found.length === 0 ? undefined : Math.min(...found);
}

const DAYS_AHEAD = 366 * 8;

/**
 * The next instant after `from` (milliseconds) that a plan of 2.x or 3.x matches; undefined when there is none, or the
 * text is not understood.
 * @param days how day of month and day of week go together where both are restricted: 2.x takes either, 3.x needs both
 */
export function nextMatch(
  expression: string,
  timezone: string | undefined,
  from: number,
  days: 'and' | 'or',
): number | undefined {
  const fields = split(expression);
  const sets = FIELDS.map((field, i) => {
    const tokens = (fields[i] ?? '').split(',').map((token) => values(token, field));
    return tokens.includes(undefined) ? undefined : new Set(tokens.flat() as number[]);
  });
  if (fields.length !== 6 || sets.includes(undefined)) return undefined;
  const [seconds, minutes, hours, monthDays, months, weekDays] = sets as Set<number>[] as [
    Set<number>,
    Set<number>,
    Set<number>,
    Set<number>,
    Set<number>,
    Set<number>,
  ];
  if (weekDays.has(7)) weekDays.add(0);
  const either = days === 'or' && fields[3] !== '*' && fields[5] !== '*';
  const ascending = (set: Set<number>): number[] => [...set].sort((a, b) => a - b);
  const [h, m, s] = [ascending(hours), ascending(minutes), ascending(seconds)];
  const today = wallClock(from, timezone);
  for (let ahead = 0; ahead < DAYS_AHEAD; ahead += 1) {
    const date = new Date(Date.UTC(today.year, today.month - 1, today.day + ahead));
    const [month, day] = [date.getUTCMonth() + 1, date.getUTCDate()];
    const fits = [monthDays.has(day), weekDays.has(date.getUTCDay())];
    if (!months.has(month) || !(either ? fits.includes(true) : !fits.includes(false))) continue;
    for (const hour of h) {
      if (ahead === 0 && hour < today.hour) continue;
      for (const minute of m) {
        if (ahead === 0 && hour === today.hour && minute < today.minute) continue;
        for (const second of s) {
          if (ahead === 0 && hour === today.hour && minute === today.minute && second <= today.second) continue;
          const instant = instantOf({ year: date.getUTCFullYear(), month, day, hour, minute, second }, timezone);
          if (instant !== undefined && instant > from) return instant;
        }
      }
    }
  }
  return undefined;
}
