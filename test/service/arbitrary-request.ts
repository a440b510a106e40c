import fc, { type Arbitrary } from 'fast-check';

/** As far as the service's own document goes. */
export interface JsonSchema {
  type?: string | string[];
  pattern?: string;
  format?: string;
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  anyOf?: JsonSchema[];
  allOf?: JsonSchema[];
  oneOf?: JsonSchema[];
}

interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  schema?: JsonSchema;
}

interface Operation {
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema?: JsonSchema }> };
}

export interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
}

export interface ArbitraryRequest {
  method: string;
  path: string;
  contentType: string | undefined;
  body: string | undefined;
}

/** What hurts: escapes, separators, what is no UTF-8, what is long, what a database or a file system takes for something else. */
const HOSTILE = [
  '',
  '.',
  '..',
  '../../etc/passwd',
  '%00',
  '%ff',
  '%2e%2e%2f',
  '%',
  '\u0000',
  '\ud800',
  '\u202e',
  "'; drop table workspace; --",
  '-1',
  '0',
  '1e3',
  '9007199254740993',
  '99999999999999999999',
  'NaN',
  'true',
  '[]',
  '__proto__',
  'constructor',
  'x'.repeat(5000),
];

const hostile = fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: 'binary', maxLength: 30 }));

/** A value that the schema allows; patterns are taken as they are. */
export function valueOf(schema: JsonSchema, known: readonly string[] = []): Arbitrary<unknown> {
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map((choice) => valueOf(choice, known)));
  if (schema.allOf !== undefined) return valueOf(Object.assign({}, ...schema.allOf) as JsonSchema, known);
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const type = Array.isArray(schema.type) ? (schema.type[0] ?? '') : (schema.type ?? '');
  switch (type) {
    case 'string': {
      const matching = known.filter(
        (text) => schema.pattern === undefined || new RegExp(schema.pattern, 'u').test(text),
      );
      const length = { maxLength: Math.min(schema.maxLength ?? 100, 300) };
      const text =
        schema.format === 'base64' || schema.format === 'base64url'
          ? fc.base64String(length)
          : schema.pattern === undefined
            ? fc.string({ unit: 'binary', ...length })
            : // Look-aheads and properties of characters are beyond the generator.
              /\(\?[=!]|\\p/.test(schema.pattern)
              ? fc.constantFrom('stable', 'v2')
              : fc.stringMatching(new RegExp(schema.pattern));
      return matching.length === 0
        ? text
        : fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...matching) }, text);
    }
    case 'integer':
    case 'number': {
      const min = Math.ceil(schema.minimum ?? schema.exclusiveMinimum ?? -10);
      const max = Math.max(min, Math.min(schema.maximum ?? Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER));
      return fc.oneof(fc.integer({ min, max: Math.min(max, min + 5) }), fc.integer({ min, max }));
    }
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(valueOf(schema.items ?? {}, known), { maxLength: Math.min(schema.maxItems ?? 5, 5) });
    case 'object': {
      const fields = Object.entries(schema.properties ?? {}).map(
        ([name, field]) => [name, valueOf(field, known)] as const,
      );
      return fc.record(Object.fromEntries(fields), { requiredKeys: schema.required ?? [] });
    }
    default:
      return fc.jsonValue();
  }
}

/** Mostly a value that the schema allows, at times one that it does not. */
function nearlyOf(schema: JsonSchema, known: readonly string[]): Arbitrary<string> {
  const good = valueOf(schema, known).map((value) =>
    typeof value === 'string' ? value : JSON.stringify(value),
  );
  return fc.oneof({ weight: 6, arbitrary: good }, { weight: 1, arbitrary: hostile });
}

/** Escaped as a URL wants it; what has a half of a pair in it is sent as it is not. */
const escaped = (text: string): string => encodeURIComponent(Buffer.from(text).toString());

/** Requests of one operation of an OpenAPI document; `known` are words that stand for something in the service. */
export function requestOf(
  path: string,
  method: string,
  { parameters = [], requestBody }: Operation,
  known: readonly string[],
): Arbitrary<ArbitraryRequest> {
  const inPath = parameters.filter((parameter) => parameter.in === 'path');
  const inQuery = parameters.filter((parameter) => parameter.in === 'query');
  const valuesOf = (some: Parameter[], requiredKeys: string[]) =>
    fc.record(
      Object.fromEntries(some.map(({ name, schema = {} }) => [name, nearlyOf(schema, known)] as const)),
      { requiredKeys },
    );
  const json = requestBody?.content['application/json']?.schema;
  const body: Arbitrary<{ contentType: string | undefined; body: string | undefined }> =
    requestBody === undefined
      ? fc.constant({ contentType: undefined, body: undefined })
      : fc.oneof(
          {
            weight: 6,
            arbitrary: valueOf(json ?? {}, known).map((value) => ({
              contentType: 'application/json',
              body: JSON.stringify(value),
            })),
          },
          {
            weight: 1,
            arbitrary: fc.json().map((text) => ({ contentType: 'application/json', body: text })),
          },
          { weight: 1, arbitrary: hostile.map((text) => ({ contentType: 'application/json', body: text })) },
          {
            weight: 1,
            arbitrary: hostile.map((text) => ({ contentType: 'application/octet-stream', body: text })),
          },
        );
  return fc
    .tuple(
      valuesOf(
        inPath,
        inPath.map(({ name }) => name),
      ),
      valuesOf(inQuery, []),
      body,
      fc.boolean(),
    )
    .map(([params, query, content, isRaw]) => {
      const filled = path.replaceAll(/\{([^}]+)\}/g, (_, name: string) => {
        const value = params[name] ?? '';
        return isRaw && /^[\x21-\x7e]*$/.test(value) ? value : escaped(value);
      });
      const search = Object.entries(query)
        .map(([name, value]) => `${name}=${escaped(value)}`)
        .join('&');
      return {
        method: method.toUpperCase(),
        path: search === '' ? filled : `${filled}?${search}`,
        ...content,
      };
    });
}
