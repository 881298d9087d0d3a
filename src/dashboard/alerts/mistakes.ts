/** Mistakes of a rule, each at the field that it concerns. */

import { language } from '../texts/language.js'
import { type Definition, kindOf } from './definition.js'
import type { AlertsKey } from './en.js'
import type { RuleCheck } from './requests.js'
import { say } from './words.js'

export interface Mistake {
  /** First name on the way to what is wrong; empty: the whole rule. */
  readonly field: string
  readonly text: string
}

interface Given {
  readonly rule: Definition
  readonly name: string
  /** Names of other rules. */
  readonly taken: ReadonlySet<string>
  /** Mistakes that the hub has found. */
  readonly said: RuleCheck['mistakes']
}

/** Words of the page for a field whose value the hub does not take. */
const words: Readonly<Record<string, AlertsKey>> = {
  above: 'mistake.number',
  below: 'mistake.number',
  hysteresis: 'mistake.number',
  unusual: 'mistake.number',
  rate: 'mistake.rate',
  for: 'mistake.duration',
  silent: 'mistake.duration',
  offline: 'mistake.duration',
  late: 'mistake.duration',
  when: 'mistake.when',
  unless: 'mistake.unless',
  equals: 'mistake.values',
  not: 'mistake.values',
}

/** Returns what the page itself sees at once, and what the hub has said of other fields. */
export function localMistakes({ rule, name, taken, said }: Given): readonly Mistake[] {
  const found = new Map<string, string>()
  const { above, below } = rule
  if (kindOf(rule) === undefined) found.set('what', say('mistake.what'))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a name must not have
  if (name === '' || name.length > 100 || /[\u0000-\u001f\u007f/+#]/.test(name)) found.set('name', say('mistake.name'))
  else if (taken.has(name)) found.set('name', say('mistake.taken'))
  for (const field of ['above', 'below', 'hysteresis', 'unusual'])
    if (rule[field] === null) found.set(field, say('mistake.number'))
  if (typeof above === 'number' && typeof below === 'number' && below >= above) found.set('below', say('mistake.range'))
  for (const { path, sentence } of said) {
    const field = path[0] ?? ''
    // The name is judged above, and of a rule without a condition nothing more is said.
    if (found.has(field) || field === 'name' || (field === '' && found.size > 0)) continue
    const key = words[field]
    const own = language === 'en' || !key ? `${path.length > 1 ? `${path.join('.')}: ` : ''}${sentence}` : say(key)
    found.set(field, own)
  }
  return [...found].map(([field, text]) => ({ field, text }))
}
