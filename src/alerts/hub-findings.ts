import type { AlertRule } from './rule.js'
import type { AlertSubject, Watch } from './watch.js'
import type { WatchMachine } from './watch-machine.js'

/** State of one condition of the hub. */
export interface HubFinding {
  /** As in `hubConditions`, or the name of an alarm. */
  readonly name: string
  readonly value: number
  readonly sentence: string
}

/** The watches of the rules about the hub. Implemented by `AlertEvaluator`. */
export interface HubWatches {
  readonly machine: WatchMachine
  watchOf(rule: string, series: string): Watch | undefined
  subjectsOf(rule: string): Iterable<string>
  watch(rule: AlertRule, subject: AlertSubject): Watch | undefined
}

/** Evaluates the rules about the hub. A condition that is not named is over. */
export function takeFindings(watches: HubWatches, rules: readonly AlertRule[], findings: readonly HubFinding[]): void {
  const { machine } = watches
  const named = new Map(findings.map(one => [one.name, one]))
  for (const rule of rules) {
    if (rule.condition.kind !== 'hub') continue
    const { what, above } = rule.condition
    const isAny = what === 'any'
    for (const name of new Set(isAny ? [...named.keys(), ...watches.subjectsOf(rule.name)] : [what])) {
      const found = named.get(name)
      const holds = found !== undefined && found.value > above
      const series = isAny ? name : ''
      const known = watches.watchOf(rule.name, series)
      const watch = known ?? (holds ? watches.watch(rule, subjectOf(name, series)) : undefined)
      if (!watch) continue
      if (found) {
        watch.hub = found
        watch.value = found.value
      }
      watch.time = machine.now
      machine.step(watch, holds, machine.now)
    }
  }
}

function subjectOf(name: string, series: string): AlertSubject {
  return { series, label: `The hub (${name})`, device: undefined, devices: [], tags: [], unit: undefined }
}
