import { type MappingRule, type PlacedRule, placedRules, type Settings } from '../../config/settings.js'
import { HubError } from '../../errors.js'
import type { RuleDecoders } from '../decoders/rule-decoders.js'
import type { Mapping } from '../mapping.js'
import type { Sparkplug } from '../sparkplug/sparkplug.js'
import { mappingOf } from '../targets.js'
import { ownRuleMistakes } from './own-rules.js'

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

  /**
   * Returns a mapping with other rules of the hub itself, before those of the settings. Throws `bad_request` with all
   * mistakes of the rules.
   */
  withOwn(rules: readonly unknown[]): Mapping {
    const mistakes = rules.flatMap((rule, i) =>
      ownRuleMistakes(rule).map(
        ({ key, sentence }) => `rule ${i + 1}: ${key === undefined ? '' : `${key}: `}${sentence}`,
      ),
    )
    if (mistakes.length > 0) throw new HubError('bad_request', mistakes.slice(0, maxMistakes).join('; '))
    const inForce: readonly PlacedRule[] = this.#settings.mapping
    const given = inForce.filter(({ place }) => place?.from !== 'hub')
    const own = placedRules(rules as readonly MappingRule[], [])
    // The very rules of the settings: their decoders are found by them.
    return this.trial([...own, ...given])
  }
}

/** Most mistakes that are told at once. */
const maxMistakes = 20
