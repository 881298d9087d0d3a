import type { Said } from './model.js'

/**
 * The closed list of what can go wrong, and what each means at the HTTP edge. At the MQTT edge every one of
 * them means: no acknowledgement, the connection is closed, the device sends again.
 */
const codes = {
  bad_settings: 400,
  bad_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  busy: 409,
  changed: 412,
  too_large: 413,
  key_reused: 422,
  too_many: 429,
  overloaded: 503,
  data_dir_locked: 500,
  data_dir_unusable: 500,
  port_taken: 500,
  spool_full: 503,
  spool_share: 429,
  spool_failed: 503,
  store_unavailable: 503,
  queue_unavailable: 503,
  outlet_unavailable: 503,
  queue_clash: 500,
  hub_clash: 500,
  processor_down: 503,
  stopping: 503,
} as const

export type ErrorCode = keyof typeof codes

export interface HubErrorOptions extends ErrorOptions {
  readonly retryAfterMs?: number | undefined
  readonly said?: Said | undefined
}

/** An error with a code a program can act on and a sentence a person can act on. */
export class HubError extends Error {
  readonly code: ErrorCode
  /** Pause before another attempt that the other side asked for. */
  readonly retryAfterMs: number | undefined
  /** The sentence as a code with values, where pages say it in their own language. */
  readonly said: Said | undefined

  constructor(code: ErrorCode, message: string, options?: HubErrorOptions) {
    super(message, options)
    this.name = 'HubError'
    this.code = code
    this.retryAfterMs = options?.retryAfterMs
    this.said = options?.said
  }

  get httpStatus(): number {
    return codes[this.code]
  }
}

/** A request with several messages that is not carried out, or not wholly. */
export class MessagesRefused extends HubError {
  /** Index of the first message that is refused. */
  readonly index: number
  /** Messages that are kept all the same: index and sequence number of each. */
  readonly kept: readonly { readonly index: number; readonly sequence: number }[]

  constructor(
    code: ErrorCode,
    message: string,
    index: number,
    {
      kept = [],
      ...options
    }: { readonly kept?: MessagesRefused['kept']; readonly retryAfterMs?: number; readonly cause?: unknown } = {},
  ) {
    super(code, message, options)
    this.index = index
    this.kept = kept
  }
}

/**
 * Returns the sentence of anything thrown, with the causes a driver hid behind an empty message, without passwords in
 * URLs.
 */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return withoutPasswords(String(error))
  const { code, errors } = error as Error & { code?: unknown; errors?: readonly unknown[] }
  return withoutPasswords(error.message) || errors?.map(describe).join('; ') || String(code ?? error.name)
}

/** Replaces user names and passwords of the URLs in a text by `***`: `amqp://guest:guest@mq` becomes `amqp://***@mq`. */
export function withoutPasswords(text: string): string {
  // Up to the last @: an unescaped password may hold an @ or a slash. A quote ends a text in JSON.
  // Another URL may follow a comma.
  return text.includes('://')
    ? text.replace(/\b([a-z][a-z\d+.-]{0,30}:\/\/)(?:\\"|(?!,[a-z][a-z\d+.-]{0,30}:\/\/)[^\s"])*@/gi, '$1***@')
    : text
}

/** Returns the code, such as ENOSPC, by which drivers mark system errors. Undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}
