import type { FieldValue, Rejection, Tags } from '../../model.js'

/** What a payload says, before the topic adds what it knows. */
export interface Sample {
  /** At least one; names unique. */
  readonly fields: readonly (readonly [name: string, value: FieldValue])[]
  /** The device's own time, microseconds since the epoch; undefined when it sent none. */
  readonly time?: number
  /** Only formats that carry them (line protocol). */
  readonly measurement?: string
  readonly tags?: Tags
}

/** Thrown by decoders: the payload is not what they read. */
export class Undecodable extends Error implements Rejection {
  readonly reason: string
  readonly detail: string

  constructor(reason: string, detail: string) {
    super(detail)
    this.reason = reason
    this.detail = detail
  }
}
