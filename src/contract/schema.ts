/*
 * JSON schemas with the TypeScript type of the values that they accept: one declaration is the type, the validator and
 * the description in OpenAPI.
 *
 * The functions are those of TypeBox, of which the API needs ten. The package itself is not used, as loading it takes
 * 0.15 to 0.35 s of CPU and 13 to 20 MB at every start of a hub (measured with 0.34 and 1.4 on Node 20).
 */

declare const accepted: unique symbol
declare const shape: unique symbol

/** A JSON schema. `Value` exists for the compiler only. */
export interface Schema<Value = unknown> {
  readonly [keyword: string]: unknown
  readonly [accepted]?: Value
}

/** The type of the values that a schema accepts. */
export type Static<S> = S extends Schema<infer Value> ? Value : never

/** A property that may be left out. */
export interface Optional<Value = unknown> {
  readonly optional: Schema<Value>
}

/** A property that the caller may leave out, as the hub then fills in a default. */
export interface Defaulted<Value = unknown> {
  readonly defaulted: Schema<Value>
}

export type SchemaProperties = Readonly<Record<string, Schema | Optional | Defaulted>>

/** A schema of objects, which also knows which properties have a default. */
export interface ObjectSchema<P extends SchemaProperties> extends Schema<Sent<P>> {
  readonly [shape]?: P
}

/** The type of an object that has been validated, and in which the defaults have been filled in. */
export type Validated<S> = S extends ObjectSchema<infer P> ? Filled<P> : Static<S>

type ValueOf<P> =
  P extends Optional<infer Value>
    ? Value
    : P extends Defaulted<infer Value>
      ? Value
      : P extends Schema<infer Value>
        ? Value
        : never

type Flat<T> = { readonly [Name in keyof T]: T[Name] }

type Sent<P> = Flat<
  { [Name in keyof P as P[Name] extends Schema ? Name : never]: ValueOf<P[Name]> } & {
    [Name in keyof P as P[Name] extends Schema ? never : Name]?: ValueOf<P[Name]> | undefined
  }
>

type Filled<P> = Flat<
  { [Name in keyof P as P[Name] extends Optional ? never : Name]: ValueOf<P[Name]> } & {
    [Name in keyof P as P[Name] extends Optional ? Name : never]?: ValueOf<P[Name]> | undefined
  }
>

/** Keywords of JSON Schema that limit a value, such as `maxLength`. */
type Limits = Readonly<Record<string, unknown>>

const described = (schema: Limits, description: string | undefined, limits: Limits = {}) => ({
  ...schema,
  ...limits,
  ...(description !== undefined && { description }),
})

export function string(description?: string, limits?: Limits): Schema<string> {
  return described({ type: 'string' }, description, limits)
}

export function number(description?: string, limits?: Limits): Schema<number> {
  return described({ type: 'number' }, description, limits)
}

export function integer(description?: string, limits?: Limits): Schema<number> {
  return described({ type: 'integer' }, description, limits)
}

export function boolean(description?: string): Schema<boolean> {
  return described({ type: 'boolean' }, description)
}

/** Returns a schema of the words listed. */
export function words<const Words extends readonly string[]>(all: Words, description?: string): Schema<Words[number]> {
  return described({ type: 'string', enum: all }, description)
}

/** Returns a schema of one value. */
export function constant<const Value extends string | number | boolean>(
  value: Value,
  description?: string,
): Schema<Value> {
  return described({ const: value }, description)
}

/** Returns a schema of the values that one of the schemas accepts. */
export function union<const All extends readonly Schema[]>(
  all: All,
  description?: string,
): Schema<Static<All[number]>> {
  return described({ anyOf: all }, description)
}

export function array<Item>(items: Schema<Item>, description?: string, limits?: Limits): Schema<readonly Item[]> {
  return described({ type: 'array', items }, description, limits)
}

/** A name and a value. */
export const pair = array(string(), undefined, { minItems: 2, maxItems: 2 }) as Schema<
  readonly [name: string, value: string]
>

/** Returns a schema of objects with any names, and values of one kind. */
export function record<Value>(values: Schema<Value>, description?: string): Schema<Readonly<Record<string, Value>>> {
  return described({ type: 'object', additionalProperties: values }, description)
}

export function optional<Value>(schema: Schema<Value>): Optional<Value> {
  return { optional: schema }
}

export function withDefault<Value>(schema: Schema<Value>, value: Value): Defaulted<Value> {
  return { defaulted: { ...schema, default: value } }
}

export function object<P extends SchemaProperties>(
  properties: P,
  description?: string,
  limits?: Limits,
): ObjectSchema<P> {
  const schemas: Record<string, Schema> = {}
  const required: string[] = []
  for (const [name, property] of Object.entries(properties)) {
    if (isOptional(property)) schemas[name] = property.optional
    else if (isDefaulted(property)) schemas[name] = property.defaulted
    else {
      schemas[name] = property
      required.push(name)
    }
  }
  const all = { type: 'object', properties: schemas, ...(required.length > 0 && { required }) }
  return described(all, description, limits)
}

/** Returns a schema of objects that have no property but those listed: a mistyped name is rejected, not ignored. */
export function closed<P extends SchemaProperties>(properties: P, limits: Limits = {}): ObjectSchema<P> {
  return object(properties, undefined, { additionalProperties: false, ...limits })
}

function isOptional(property: object): property is Optional {
  return 'optional' in property
}

function isDefaulted(property: object): property is Defaulted {
  return 'defaulted' in property
}

/** A sentence as a code with values, from which a page makes the sentence in its language. */
export const said = object({
  code: string(),
  values: record(union([string(), number(), boolean()]), 'Numbers in the unit `unit`; those named …Ms in milliseconds'),
})
