import { environmentValue } from '../config/config.js'
import {
  duration,
  type Environment,
  entryName,
  entryNameAllowed,
  type OutletSetting,
  oneOf,
  readEntries,
  type SettingFields,
  type SettingKind,
  type Settings,
  size,
} from '../config/settings.js'
import { isTopicFilter } from '../topics.js'
import type { OutletTarget } from './kind.js'
import { outletKinds } from './kinds.js'

/** How far behind an outlet may be: bytes of the spool, or milliseconds since a message was received. */
export type OutletLimit = { readonly bytes: number } | { readonly ms: number }

/** One outlet of the settings, checked. */
export interface OutletPlan {
  readonly name: string
  readonly kind: string
  /** Topic filters of the messages for the outlet, and of those among them that are left out. */
  readonly topics: readonly string[]
  readonly exclude: readonly string[]
  /** Where a new outlet begins: with what comes from now on, or with the oldest message in the spool. */
  readonly from: 'now' | 'oldest'
  /** Undefined: as far as the spool has room. */
  readonly limit: OutletLimit | undefined
  /** Whether the oldest messages are skipped at the limit, or when the spool is nearly full. An alarm comes anyway. */
  readonly whenFull: 'wait' | 'skip'
  /** Limit of the dead letters, in bytes. */
  readonly deadBytes: number
  readonly target: OutletTarget
  /** Texts that no sentence may show. */
  readonly secrets: readonly string[]
}

const outletLimit: SettingKind<OutletLimit> = {
  allowed: 'a size such as 2GB, or a time such as 6h',
  parse: given => {
    const ms = duration.parse(given)
    if (ms !== undefined) return ms > 0 ? { ms } : undefined
    const bytes = size(1).parse(given)
    return bytes === undefined ? undefined : { bytes }
  },
}

/** Returns the mistakes of the outlets in the settings, a line each. */
export function outletMistakes({ outlets }: Settings): readonly string[] {
  return readOutlets(outlets, environmentValue).faults
}

/** Reads the outlets of the settings. Returns all mistakes, a line each, none of which shows a secret. */
export function readOutlets(
  settings: readonly OutletSetting[],
  environment: Environment,
): { readonly outlets: readonly OutletPlan[]; readonly faults: readonly string[] } {
  const { plans, faults } = readEntries('outlets', settings, environment, readOutlet)
  return { outlets: plans, faults }
}

function readOutlet(fields: SettingFields): OutletPlan | undefined {
  const names = Object.keys(outletKinds)
  const name = fields.text('name', entryNameAllowed, entryName)
  const kindName = fields.text('kind', `one of ${names.join(', ')}`, new RegExp(`^(?:${names.join('|')})$`))
  const given = {
    topics: filters(fields, 'topics', ['#']),
    exclude: filters(fields, 'exclude', []),
    from: fields.value('from', oneOf('now', 'oldest'), 'now'),
    limit: fields.raw('limit') === undefined ? undefined : fields.value('limit', outletLimit, { bytes: 0 }),
    whenFull: fields.value('whenFull', oneOf('wait', 'skip'), 'wait'),
    deadBytes: fields.value('dead', size(1_000_000), 100e6),
  }
  const kind = outletKinds[kindName]
  if (!kind) return undefined
  const target = kind.read(fields)
  fields.end()
  return {
    name,
    kind: kindName,
    ...given,
    target,
    secrets: [...fields.reading.secrets].filter(secret => secret !== ''),
  }
}

function filters(fields: SettingFields, name: string, usual: readonly string[]): readonly string[] {
  if (fields.raw(name) === undefined) return usual
  const allowed = 'a list of topic filters: + and # stand alone in a level, # as the last one'
  return fields.list(name, allowed, /./).filter(filter => {
    if (isTopicFilter(filter)) return true
    fields.fault(name, `given ${JSON.stringify(filter)}, allowed is ${allowed}`)
    return false
  })
}
