import type { PlacedRule, Settings } from '../../config/settings.js'
import type { RuleDecoders } from '../decoders/rule-decoders.js'
import type { Mapping } from '../mapping.js'
import type { Sparkplug } from '../sparkplug/sparkplug.js'
import { mappingOf } from '../targets.js'

/** Makes mappings like that of the hub that nothing else uses. */
export class TrialMappings {
  readonly #settings: Settings
  readonly #sparkplug: Pick<Sparkplug, 'trial'>
  readonly #decoders: RuleDecoders

  constructor(settings: Settings, sparkplug: Pick<Sparkplug, 'trial'>, decoders: RuleDecoders) {
    this.#settings = settings
    this.#sparkplug = sparkplug
    this.#decoders = decoders
  }

  /** Returns a mapping of the rules in force, or of other ones; those that name files must be of the former. */
  trial(mapping: readonly PlacedRule[] = this.#settings.mapping): Mapping {
    return mappingOf({ ...this.#settings, mapping }, this.#sparkplug.trial, this.#decoders)
  }
}
