import type { IgnoredAs, Message } from '../../model.js'
import { parseJson } from '../decoders/json.js'
import { Undecodable } from '../decoders/sample.js'
import { FieldPlans } from '../field-plans.js'
import { allPresets } from './all.js'
import { compilePattern, type PresetPattern } from './pattern.js'
import type { DeviceDescription, Preset, PresetTopic } from './preset.js'

interface CompiledTopic extends PresetTopic {
  readonly preset: string
  readonly pattern: PresetPattern
  /** Answer for a topic that only this one matches. */
  readonly found: FoundTopic
}

/** A topic of a preset whose messages are no readings, if they look like it. */
interface Candidate {
  readonly of: CompiledTopic
  readonly levels: Readonly<Record<string, string>>
}

/** Answer of the presets for a topic. */
export interface FoundTopic {
  /** Kinds of messages on the topic that are no readings. Undefined: all are readings. */
  readonly others: readonly Candidate[] | undefined
  /** Names of the preset whose readings they are, for `telehub map try`. */
  readonly preset: string | undefined
  readonly time: readonly string[] | undefined
  readonly isText: boolean | undefined
  /** Undefined when all fields are stored as they are. */
  readonly plans: FieldPlans | undefined
  readonly units: FieldPlans | undefined
  readonly tagFields: ReadonlySet<string> | undefined
}

/** Outcome for a message that is no reading. */
export interface ExaminedMessage {
  readonly preset: string
  readonly role: IgnoredAs
  /** Devices that a description describes; none when it is taken back. */
  readonly devices?: readonly DeviceDescription[]
}

const nothing: FoundTopic = {
  others: undefined,
  preset: undefined,
  time: undefined,
  isText: undefined,
  plans: undefined,
  units: undefined,
  tagFields: undefined,
}

/** Descriptions of large networks are large, but still bounded. */
const descriptionLimits = { depth: 32, fields: 10_000 }
/** Characters of a payload that are compared with what such payloads look like. */
const looked = 2_000

/** The presets that are on: finds what they say about a topic, and what the messages on it are. */
export class Presets {
  readonly #topics: readonly CompiledTopic[]

  /** @param off Names of presets that are switched off; `all` for all of them */
  constructor(off: readonly string[] = [], presets: readonly Preset[] = allPresets) {
    const on = off.includes('all') ? [] : presets.filter(({ name }) => !off.includes(name))
    this.#topics = on.flatMap(preset => preset.topics.map(topic => compile(preset.name, topic)))
  }

  find(topic: string): FoundTopic {
    let others: Candidate[] | undefined
    for (const one of this.#topics) {
      const levels = one.pattern.match(topic)
      if (!levels) continue
      if ((one.is ?? 'reading') === 'reading') return others ? { ...one.found, others } : one.found
      others ??= []
      others.push({ of: one, levels })
      // Nothing after a sure one counts.
      if (!one.looksLike && !one.describe) break
    }
    return others ? { ...nothing, others } : nothing
  }

  /** Returns what a message is, if it is no reading. */
  examine({ topic, payload }: Message, { others = [] }: FoundTopic): ExaminedMessage | undefined {
    for (const { of, levels } of others) {
      const role = of.is as IgnoredAs
      if (of.describe) {
        const devices = payload.length === 0 ? [] : of.describe({ topic, levels, payload: parsed(payload) })
        if (devices) return { preset: of.preset, role, devices }
      } else if (!of.looksLike || of.looksLike.test(payload.toString('utf8', 0, looked))) {
        return { preset: of.preset, role }
      }
    }
    return undefined
  }
}

function compile(preset: string, topic: PresetTopic): CompiledTopic {
  const { drop, strip, units, tags } = topic
  const plans = new FieldPlans({ drop, strip, units })
  const found: FoundTopic = {
    others: undefined,
    preset,
    time: topic.time,
    isText: topic.isText,
    plans: plans.isIdentity && !tags ? undefined : plans,
    units: units && plans,
    tagFields: tags && new Set(tags),
  }
  return { ...topic, preset, pattern: compilePattern(topic.topic), found }
}

function parsed(payload: Buffer): unknown {
  const text = payload.toString('utf8').trim()
  try {
    return parseJson(text, descriptionLimits)
  } catch (error) {
    if (error instanceof Undecodable) return text
    throw error
  }
}
