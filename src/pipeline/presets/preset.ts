import type { Members } from '../decoders/members.js'

/*
 * A preset says what a family of devices and programs publishes: which topics are readings, and where their time and
 * units are; which describe devices; and which are commands or logs, that nobody wants as a series.
 */

/** Kind of the messages on a topic. Only readings are stored. */
export type TopicRole = 'reading' | 'description' | 'command' | 'log' | 'ignored'

/** One value of a device, as the device describes it. */
export interface EntityDescription {
  /** Topic of the readings. */
  readonly topic: string
  /** Field of the readings on that topic; `value` for a bare value. */
  readonly field: string
  readonly name?: string | undefined
  readonly unit?: string | undefined
  /** Quantity, in Home Assistant's words: `temperature`, `power`, `motion`, … */
  readonly deviceClass?: string | undefined
  /** Digits behind the point that mean something. */
  readonly precision?: number | undefined
  /** Topic on which the device takes commands for this value. */
  readonly commandTopic?: string | undefined
  /** Set when the value tells of the device, or sets it up, and is not what people have the device for. */
  readonly category?: 'diagnostic' | 'config' | undefined
  /** Words for the values of a state. */
  readonly states?: readonly StateWord[] | undefined
}

/** Meaning of one value of a state, as the device or the documentation of its family says. */
export interface StateWord {
  readonly value: string | number | boolean
  /** Language-neutral: `open`, `closed`, `on`, `off`, … */
  readonly key: string
}

/** Something that can be set or done at a device. */
export interface ControlDescription {
  readonly kind: 'switch' | 'slider' | 'choice' | 'button'
  readonly name: string
  /** Topic for the payloads. */
  readonly topic: string
  /** `switch`: on, then off. `choice`: all. `button`: one. */
  readonly options?: readonly ControlOption[] | undefined
  /** `slider`: the payload, in which `{value}` stands for the number. */
  readonly payload?: string | undefined
  readonly range?: ControlRange | undefined
  /** Where the value is that it sets. */
  readonly state?: { readonly topic: string; readonly field: string } | undefined
  /** Set when a slip of the finger could do harm. */
  readonly dangerous?: true | undefined
}

export interface ControlOption {
  readonly name: string
  /** Language-neutral: `on`, `off`, `open`, `close`, `stop`, `lock`, `unlock`, `press`. */
  readonly key?: string | undefined
  readonly payload: string
  /** Value of the state that means this option. */
  readonly value?: string | number | boolean | undefined
}

export interface ControlRange {
  readonly min: number
  readonly max: number
  readonly step: number
  readonly unit?: string | undefined
}

/** A topic that says whether a device is there. */
export interface AvailabilityDescription {
  readonly topic: string
  readonly field: string
  readonly online: string
  readonly offline: string
}

/** A device, as it describes itself or is described by its gateway. */
export interface DeviceDescription {
  /** The preset that read the description. */
  readonly source: string
  /** Identifies the device among all of the source. */
  readonly id: string
  readonly name?: string | undefined
  readonly area?: string | undefined
  readonly model?: string | undefined
  readonly manufacturer?: string | undefined
  readonly version?: string | undefined
  /** Beginning that the topics of the device have in common, and only they. */
  readonly base?: string | undefined
  /** Kinds of the device, in the words of Home Assistant: `light`, `lock`, `climate`. */
  readonly kinds?: readonly string[] | undefined
  readonly availability?: readonly AvailabilityDescription[] | undefined
  readonly controls?: readonly ControlDescription[] | undefined
  readonly entities: readonly EntityDescription[]
}

/** A message that may describe devices. */
export interface Described {
  readonly topic: string
  /** Levels of the topic by the names in the preset's pattern. */
  readonly levels: Readonly<Record<string, string>>
  /** The payload as JSON; the text itself where it is none. */
  readonly payload: unknown
}

export interface PresetTopic {
  /**
   * Topics: `+` is one level, `*` any part of a level, `(a|b)` one of several, `{name}` a level with a name, `{name...}`
   * any number of levels, also none.
   */
  readonly topic: string
  /** Default: readings. */
  readonly is?: TopicRole
  /** Outcome of the messages, for the documentation. */
  readonly about?: string
  /** Matches the payloads of such messages, where the topic alone is no proof. Others are readings. */
  readonly looksLike?: RegExp
  /** Flattened names of fields with the device's time; the first one present counts. Empty: the device's time is not taken. */
  readonly time?: readonly string[]
  /** Units of fields; `*` in a name is any text. */
  readonly units?: Readonly<Record<string, string>>
  /** Fields that are not stored; `*` in a name is any text. */
  readonly drop?: readonly string[]
  /** Beginnings of field names that are left out, as they say nothing. */
  readonly strip?: readonly string[]
  /** Fields that become tags, where one topic has the readings of several devices. */
  readonly tags?: readonly string[]
  /** Whether bare values are texts, however they look. */
  readonly isText?: boolean
  /** Returns what a description says; undefined when the message is none after all. */
  readonly describe?: (message: Described) => readonly DeviceDescription[] | undefined
}

export interface Preset {
  /** Name in the setting `presets`. */
  readonly name: string
  readonly title: string
  /** A sentence for the documentation: what needs to be set at the device. */
  readonly note?: string
  readonly topics: readonly PresetTopic[]
}

/** Returns the first of some members that is a text. */
export function textOf(members: Members, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = members[name]
    if (typeof value === 'string' && value !== '') return value
  }
  return undefined
}
