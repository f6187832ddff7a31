import { inspect, styleText } from 'node:util';

const COLOURS = {
  received: 'gray',
  started: 'cyan',
  retry: 'yellow',
  success: 'green',
  failure: 'red',
  revoked: 'magenta',
};

/** `[title, cells from the left, text of a task]` */
const COLUMNS = [
  ['QUEUE', 16, (task) => task.queue ?? ''],
  ['NAME', 12, (task) => task.name],
  ['STATE', 10, (task) => task.state],
  ['ATTEMPTS', 9, attempts],
  ['RUN TIME', 10, (task) => (task.runtimeMs === null ? '-' : `${Math.round(task.runtimeMs)} ms`)],
  ['', 60, outcome],
];

/** Runs so far: while a task waits for its next one, its last run is counted as a retry already. */
function attempts({ startedAt, retryCount, state }) {
  return startedAt ? `${state === 'retry' ? retryCount : retryCount + 1}` : '-';
}

/** What came of it: the data while it waits, then the result or the exception. */
function outcome({ args, result, exception }) {
  if (exception) return exception;
  const value = result ?? args?.[0];
  return value === null || value === undefined
    ? ''
    : inspect(value, { breakLength: Number.POSITIVE_INFINITY, depth: 1 });
}

/** Lines of the table, at most `rows` tasks (the newest) and `width` characters wide; `color` adds escape codes. */
export function table(tasks, { rows = Number.POSITIVE_INFINITY, width = 118, color = false } = {}) {
  const paint = (format, text) => (color ? styleText(format, text) : text);
  const line = (cells) => {
    let left = width;
    return cells
      .map(([text, size, format]) => {
        const room = Math.max(0, Math.min(size, left));
        left -= room;
        const cut = text.length >= room && room > 0 ? `${text.slice(0, room - 2)}… ` : text;
        const cell = cut.slice(0, room).padEnd(room);
        return format ? paint(format, cell) : cell;
      })
      .join('')
      .trimEnd();
  };
  const shown = tasks.slice(-rows);
  const hidden = tasks.length - shown.length;
  return [
    line(COLUMNS.map(([title, size]) => [title, size, 'bold'])),
    ...shown.map((task) =>
      line(
        COLUMNS.map(([title, size, text]) => [text(task), size, title === 'STATE' ? COLOURS[task.state] : undefined]),
      ),
    ),
    ...(hidden > 0 ? [paint('gray', `… and ${hidden} before`)] : []),
  ];
}

/** `18 tasks: 15 success, 2 failure, 1 revoked` */
export function totals(tasks) {
  const counts = new Map();
  for (const { state } of tasks) counts.set(state, (counts.get(state) ?? 0) + 1);
  return `${tasks.length} tasks${tasks.length ? ': ' : ''}${[...counts].map(([state, count]) => `${count} ${state}`).join(', ')}`;
}
