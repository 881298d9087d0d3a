import type { HeldBy } from './rule.js'
import type { AlertSubject, Watch } from './watch.js'

/** Alerts of one rule that fire. */
interface FiringOfRule {
  readonly watches: Set<Watch>
  /** Number of alerts by what they are about, for each list of names that a rule has asked for. */
  readonly shared: Map<string, SharedNames>
}

interface SharedNames {
  readonly names: readonly string[]
  readonly counts: Map<string, number>
}

/** The alerts that fire. Says whether one of them holds back another alert, without a look at all of them. */
export class FiringWatches {
  readonly #byRule = new Map<string, FiringOfRule>()

  add(watch: Watch): void {
    let ofRule = this.#byRule.get(watch.rule.name)
    if (!ofRule) {
      ofRule = { watches: new Set(), shared: new Map() }
      this.#byRule.set(watch.rule.name, ofRule)
    }
    if (ofRule.watches.has(watch)) return
    ofRule.watches.add(watch)
    for (const shared of ofRule.shared.values()) count(shared, watch.subject, 1)
  }

  delete(watch: Watch): void {
    const ofRule = this.#byRule.get(watch.rule.name)
    if (!ofRule?.watches.delete(watch)) return
    for (const shared of ofRule.shared.values()) count(shared, watch.subject, -1)
    if (ofRule.watches.size === 0) this.#byRule.delete(watch.rule.name)
  }

  /** Number of alerts of a rule that fire. */
  countOf(rule: string): number {
    return this.#byRule.get(rule)?.watches.size ?? 0
  }

  /** Whether an alert of the other rule fires that is about the same. */
  holdBack({ rule, same }: HeldBy, subject: AlertSubject): boolean {
    const ofRule = this.#byRule.get(rule)
    if (!ofRule) return false
    if (same.length === 0) return true
    const key = same.join('\0')
    let shared = ofRule.shared.get(key)
    if (!shared) {
      shared = { names: same, counts: new Map() }
      for (const watch of ofRule.watches) count(shared, watch.subject, 1)
      ofRule.shared.set(key, shared)
    }
    const { counts } = shared
    return keysOf(subject, same).some(one => counts.has(one))
  }
}

function count({ names, counts }: SharedNames, subject: AlertSubject, by: 1 | -1): void {
  for (const key of keysOf(subject, names)) {
    const next = (counts.get(key) ?? 0) + by
    if (next > 0) counts.set(key, next)
    else counts.delete(key)
  }
}

/** Returns a text for each device, with the tags, that an alert is about. Empty when one of the names is missing. */
function keysOf({ devices, tags }: AlertSubject, names: readonly string[]): readonly string[] {
  let keys: readonly string[] = ['']
  for (const name of names) {
    const value = tags.find(([tag]) => tag === name)?.[1]
    const values = name === 'device' ? [...new Set(devices)] : value === undefined ? [] : [value]
    keys = keys.flatMap(key => values.map(one => `${key}${one}\0`))
  }
  return keys
}
