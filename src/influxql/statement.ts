/** A statement cannot be carried out, or is none. The message is for the user, in words as InfluxDB 1.x has them. */
export class StatementError extends Error {}

/** The text of a request is no InfluxQL that is known here: nothing of the request is carried out. */
export class SyntaxFault extends StatementError {}

/** Selects measurements: those of a name, or those that a regular expression (RE2) matches. */
export type Source = { readonly name: string } | { readonly pattern: string }

/** A name that may say what the name is of: `"host"::tag`. */
export interface Reference {
  readonly name: string
  readonly of?: 'tag' | 'field' | undefined
}

export type Expression =
  | (Reference & { readonly kind: 'field' })
  /** All fields, `*`, or those that a pattern matches. */
  | { readonly kind: 'wildcard'; readonly pattern?: string | undefined }
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'duration'; readonly nanoseconds: bigint }
  | { readonly kind: 'call'; readonly name: string; readonly given: readonly Expression[] }
  | Binary

export interface Binary {
  readonly kind: 'binary'
  readonly operator: Operator
  readonly left: Expression
  readonly right: Expression
}

export type Operator = '+' | '-' | '*' | '/' | '%'

/** A test of the text of a tag. */
export interface TextTest {
  readonly operator: '=' | '!=' | '=~' | '!~'
  /** A text, or a regular expression (RE2). */
  readonly value: string
}

export type Condition =
  | { readonly kind: 'and' | 'or'; readonly left: Condition; readonly right: Condition }
  | { readonly kind: 'time'; readonly operator: string; readonly nanoseconds: bigint }
  | ({ readonly kind: 'tag'; readonly tag: Reference } & TextTest)

export interface RowLimits {
  readonly limit: number | undefined
  readonly offset: number
  readonly seriesLimit: number | undefined
  readonly seriesOffset: number
}

export type Fill =
  | { readonly kind: 'null' | 'none' | 'previous' | 'linear' }
  | { readonly kind: 'number'; readonly value: number }

export interface SelectStatement extends RowLimits {
  readonly kind: 'select'
  readonly fields: readonly { readonly expression: Expression; readonly alias: string | undefined }[]
  readonly database: string | undefined
  readonly sources: readonly Source[]
  readonly condition: Condition | undefined
  /** Width and offset of the windows, in nanoseconds. */
  readonly windows: { readonly width: bigint; readonly offset: bigint } | undefined
  readonly tags: readonly string[]
  /** GROUP BY *. */
  readonly everyTag: boolean
  readonly fill: Fill
  readonly descending: boolean
}

export const shown = [
  'DATABASES',
  'RETENTION POLICIES',
  'MEASUREMENTS',
  'FIELD KEYS',
  'TAG KEYS',
  'TAG VALUES',
  'SERIES',
] as const

export interface ShowStatement extends RowLimits {
  readonly kind: 'show'
  readonly what: (typeof shown)[number]
  readonly database: string | undefined
  readonly sources: readonly Source[]
  /** Tags that SHOW TAG VALUES asks for. Those of a list are joined by OR. */
  readonly keys: readonly TextTest[]
  /** WITH MEASUREMENT. */
  readonly measurement: TextTest | undefined
  readonly condition: Condition | undefined
}

export type QueryStatement = SelectStatement | ShowStatement
