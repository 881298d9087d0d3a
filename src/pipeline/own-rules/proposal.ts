import { type MappingRule, timesOf } from '../../config/settings.js'
import type { TopicTree } from '../explore/topic-tree.js'

/** A level that names one of many: `line1`, `oven-3`, an address, a serial number; and not `zigbee2mqtt`. */
const numbered = /^([A-Za-z][A-Za-z]*)[-_ ]?\d+$/
const idLike =
  /^(?=.*\d)(?:[0-9a-f]{6,}|0x[0-9a-f]+|(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}|[\w-]*\d|[\w-]*[-_][0-9a-f]{4,})$/i

/** Names for the levels of home and plant where nothing else tells. */
const usualNames: Readonly<Record<number, readonly string[]>> = {
  1: ['device'],
  2: ['area', 'device'],
  3: ['site', 'area', 'device'],
}
const byFirstLevel: Readonly<Record<string, readonly string[]>> = {
  home: ['room', 'device'],
  house: ['room', 'device'],
  plant: ['line', 'machine'],
  factory: ['line', 'machine'],
}

/** Ways to read payloads, of which one may work where the usual one does not. */
const ways: readonly Partial<MappingRule>[] = [
  { decimalComma: true },
  ...(['value', 'json', 'line', 'senml', 'cbor', 'msgpack', 'gzip', 'zlib'] as const).map(decoder => ({ decoder })),
]

/**
 * Returns rules that one might want for a topic, the likeliest first. Where a rule decides already, they begin with what
 * it says.
 *
 * @param decides The rule that decides about the topic today.
 */
export function proposedRules(
  tree: Pick<TopicTree, 'root'>,
  topic: string,
  decides?: MappingRule & { readonly place?: unknown },
): readonly MappingRule[] {
  const guessed = guessedRule(tree, topic)
  const fresh = [guessed, ...ways.map(way => ({ ...guessed, ...way }))]
  if (!decides) return fresh
  const { place: _, descriptor, message, codec, ...given } = decides
  // Wildcards without names tell devices apart no better than no rule does.
  const copy = given.topic.includes('{') ? given : { ...given, topic: guessed.topic }
  if (descriptor !== undefined || message !== undefined || codec !== undefined || copy.ignore) return fresh
  const { types: __, ...untyped } = copy
  const { fields: ___, keep, drop: ____, ...others } = untyped
  const whole = timesOf(copy) ? { ...others, keep } : others
  return [copy, untyped, whole, ...ways.map(way => ({ ...whole, ...way })), ...fresh]
}

function guessedRule(tree: Pick<TopicTree, 'root'>, topic: string): MappingRule {
  const levels = topic.split('/')
  const isNamed = namedLevels(tree, levels)
  const names = namesOf(levels, isNamed)
  const pattern = levels.map((level, i) => (isNamed[i] ? `{${names[i]}}` : level)).join('/')
  return { topic: pattern, measurement: measurementOf(levels, isNamed) }
}

/** Most levels side by side that are looked at. */
const mostNodes = 1_000

/** Returns which levels tell one of many from the others. */
function namedLevels({ root }: Pick<TopicTree, 'root'>, levels: readonly string[]): boolean[] {
  // Below a level that is named, the topics of all its values are looked at.
  let nodes = [root]
  const named = levels.map((level, i) => {
    const names = new Set<string>()
    for (const { children } of nodes) for (const name of children?.keys() ?? []) if (names.size < 2) names.add(name)
    // Beside the first level there is all that the hub has; at the last there may be kinds of messages.
    const varies = i > 0 && names.size > 1 && (i < levels.length - 1 || levels.length === 2)
    const isNamed = level !== '' && (varies || numbered.test(level) || idLike.test(level))
    const next = isNamed
      ? nodes.flatMap(({ children }) => [...(children?.values() ?? [])])
      : nodes.flatMap(({ children }) => children?.get(level) ?? [])
    nodes = next.slice(0, mostNodes)
    return isNamed
  })
  if (!named.includes(true) && levels.length > 1) named[levels.length === 2 ? 1 : levels.length - 2] = true
  return named
}

function namesOf(levels: readonly string[], isNamed: readonly boolean[]): readonly (string | undefined)[] {
  const count = isNamed.filter(Boolean).length
  const usual = byFirstLevel[(levels[0] ?? '').toLowerCase()]
  const defaults = usual?.length === count ? usual : usualNames[count]
  const used = new Set<string>()
  let place = 0
  return levels.map((level, i) => {
    if (!isNamed[i]) return undefined
    const own = numbered.exec(level)?.[1]
    const before = i > 0 && !isNamed[i - 1] ? singular(levels[i - 1] as string) : undefined
    const fallback = defaults?.[place] ?? `level${i + 1}`
    place++
    const wanted = (own ?? before ?? fallback).toLowerCase()
    let name = /^[a-z_][\w-]*$/.test(wanted) ? wanted : fallback
    for (let n = 2; used.has(name); n++) name = `${name.replace(/\d+$/, '')}${n}`
    used.add(name)
    return name
  })
}

/** Returns the noun for one of them, as in `rooms/kitchen`. Undefined where a level is no plural. */
function singular(level: string): string | undefined {
  const [, stem] = /^([A-Za-z]{2,}[^s\W\d_])s$/i.exec(level) ?? []
  return stem?.replace(/ie$/, 'y')
}

function measurementOf(levels: readonly string[], isNamed: readonly boolean[]): string {
  const first = levels.find((level, i) => level !== '' && !isNamed[i])
  return (first ?? 'mqtt').replace(/[{}]/g, '')
}
