import { isHexId } from './ids.js';

/**
 * What a value read from JSON must be: of a kind, an object with at least these fields, or a list of such. `count`: an integer from 0 on that is
 * exact. By hand, because the files of a mount are read before it answers, and loading zod takes longer than all of them.
 */
export type JsonShape =
  | 'text'
  | 'flag'
  | 'flag, or left out'
  | 'count'
  | 'count, or left out'
  | 'digest'
  | readonly [JsonShape]
  | { readonly [field: string]: JsonShape };

export function isOfShape(value: unknown, shape: JsonShape): boolean {
  switch (shape) {
    case 'text':
      return typeof value === 'string';
    case 'flag':
      return typeof value === 'boolean';
    case 'flag, or left out':
      return value === undefined || isOfShape(value, 'flag');
    case 'count':
      return Number.isSafeInteger(value) && (value as number) >= 0;
    case 'count, or left out':
      return value === undefined || isOfShape(value, 'count');
    case 'digest':
      return typeof value === 'string' && isHexId(value);
    default:
      return isListShape(shape) ? isListOf(value, shape[0]) : hasFields(value, shape);
  }
}

function isListShape(shape: object): shape is readonly [JsonShape] {
  return Array.isArray(shape);
}

function isListOf(value: unknown, shape: JsonShape): boolean {
  return Array.isArray(value) && value.every((item) => isOfShape(item, shape));
}

function hasFields(value: unknown, shape: Readonly<Record<string, JsonShape>>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  return Object.entries(shape).every(([name, field]) => isOfShape(fields[name], field));
}
