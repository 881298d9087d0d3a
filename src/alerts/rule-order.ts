import { nearest } from '../runtime/nearest.js'
import type { AlertRule } from './rule.js'

interface OrderMistake {
  readonly rule: string
  readonly sentence: string
}

/** Longest chain of rules that wait for each other: thousands would not fit the stack. */
const maxChain = 100
/** Mistakes with a hint: one for each of thousands would take minutes. */
const maxHints = 20

/** Returns the rules with their depths, and the mistakes in what they say of each other. */
export function orderedRules(rules: readonly AlertRule[]): {
  readonly rules: AlertRule[]
  readonly mistakes: readonly OrderMistake[]
} {
  const named = new Map(rules.map(rule => [rule.name, rule]))
  const depths = new Map<string, number>()
  const mistakes: OrderMistake[] = []
  const depthOf = (name: string, above: readonly string[]): number => {
    const known = depths.get(name)
    if (known !== undefined) return known
    if (above.includes(name)) {
      const circle = [...above.slice(above.indexOf(name)), name].join(' → ')
      mistakes.push({ rule: name, sentence: `rules that wait for each other: ${circle}` })
      return 0
    }
    let depth = 0
    if (above.length >= maxChain) mistakes.push({ rule: name, sentence: `a chain of more than ${maxChain} rules` })
    else {
      for (const other of named.get(name)?.unless ?? [])
        if (named.has(other.rule)) depth = Math.max(depth, depthOf(other.rule, [...above, name]) + 1)
    }
    depths.set(name, depth)
    return depth
  }
  const ordered = rules.map(rule => {
    for (const { rule: other } of rule.unless) {
      if (named.has(other)) continue
      const meant = mistakes.length < maxHints ? nearest(other, [...named.keys()]) : undefined
      const hint = meant ? `; did you mean ${meant}?` : ''
      mistakes.push({ rule: rule.name, sentence: `there is no rule ${JSON.stringify(other)}${hint}` })
    }
    return { ...rule, depth: depthOf(rule.name, []) }
  })
  return { rules: ordered, mistakes }
}
