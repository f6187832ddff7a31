import type { JsonObject, JsonValue } from '../engine.js';

const MAX_IDS = 100;

const object = (value: JsonValue | undefined): { readonly [key: string]: JsonValue | undefined } =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as JsonObject) : {};

const texts = (value: JsonValue | undefined): readonly string[] =>
  (Array.isArray(value) ? value : [value]).filter((item): item is string => typeof item === 'string' && item !== '');

/** The tasks an operator's command is about, and those its result names. */
export function touchedTasks(
  parameters: JsonObject,
  result: JsonValue,
): readonly { readonly engine: string; readonly taskId: string }[] {
  const filter = object(parameters.filter);
  const made = object(result);
  const [engine] = [...texts(parameters.engine), ...texts(filter.engine), ...texts(made.engine)];
  if (engine === undefined) return [];
  const ids = [parameters.task_id, filter.task_ids, made.task_id, made.new_task_id, made.new_task_ids].flatMap(texts);
  return [...new Set(ids)].slice(0, MAX_IDS).map((taskId) => ({ engine, taskId }));
}
