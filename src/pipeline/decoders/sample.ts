import type { FieldValue, Rejection, Tags } from '../../model.js'

/** The contents of a payload, before the topic adds measurement and tags. */
export interface Sample {
  /** At least one; names unique. */
  readonly fields: readonly (readonly [name: string, value: FieldValue])[]
  /** The device's own time, in microseconds since the epoch. Undefined when the device sent none. */
  readonly time?: number
  /** Measurement and tags, only from formats that carry them (line protocol). */
  readonly measurement?: string
  readonly tags?: Tags
  /** Units by field, only from formats that carry them. */
  readonly units?: readonly (readonly [field: string, unit: string])[]
}

/** Thrown by decoders for a payload that they cannot read. */
export class Undecodable extends Error implements Rejection {
  readonly reason: string
  readonly detail: string

  constructor(reason: string, detail: string) {
    super(detail)
    this.reason = reason
    this.detail = detail
  }
}
