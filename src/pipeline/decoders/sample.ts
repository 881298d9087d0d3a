import type { FieldValue, Rejection, Tags } from '../../model.js'
import type { KeyKind } from './key-names.js'

/** The contents of a payload, before the topic adds measurement and tags. */
export interface Sample {
  /** Names unique. May be empty when the sample only says that values are absent. */
  readonly fields: readonly (readonly [name: string, value: FieldValue])[]
  /** The device's own time, in microseconds since the epoch. Undefined when the device sent none. */
  readonly time?: number
  /** True when the time is that of a clock on the wall without a zone, written down as if it were UTC. */
  readonly isLocal?: boolean
  /** Measurement and tags, only from formats that carry them (line protocol). */
  readonly measurement?: string
  readonly tags?: Tags
  /** Units by field, where the payload itself names them. */
  readonly units?: readonly (readonly [field: string, unit: string])[]
  /** Fields for which the payload says that there is no value. */
  readonly absent?: readonly string[]
}

/** Texts that a field has had, so that words such as `off` and `unknown` stay text where others were text. */
export interface TextMemory {
  texts?: Set<string> | undefined
  /** Lengths of the codes that fields have had, in which digits are mixed with letters or dots; by field. */
  codes?: Map<string, number> | undefined
}

/** How values, times and names in a payload are read: what a rule or a preset says, else the defaults. */
export interface ReadingRules {
  /** Flattened names of fields with the device's time; the first one present counts. Undefined: the usual names. */
  readonly timeFields?: readonly string[] | undefined
  /** Words, in lower case, that say that there is no value. */
  readonly absent: ReadonlySet<string>
  /** Whether `21,5` is a number. Undefined: only where nothing else is likely. */
  readonly decimalComma?: boolean | undefined
  /** Kind of the topic's last level, for a bare value. */
  readonly topicKind?: KeyKind | undefined
  /** Whether a field is to be a text, so that its digits stay as they are. */
  readonly isTextField?: ((field: string) => boolean) | undefined
  /** Name of the member by which the elements of an array are told apart. Undefined: the usual names. */
  readonly each?: string | undefined
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
