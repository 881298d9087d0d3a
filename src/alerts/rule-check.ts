import { HubError } from '../errors.js'
import { seriesKey } from '../model.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { Slices } from '../runtime/slices.js'
import type { TimeSeriesStore } from '../store/store.js'
import { doesSelectPlaces, isAboutDevices, isDeviceSelected, type KnownDevice, type SeriesNaming } from './evaluator.js'
import type { RuleCheckAnswer } from './rows.js'
import type { AlertRule } from './rule.js'
import type { RuleBook } from './rule-book.js'
import { isSeriesSelected } from './rule-index.js'
import { type RuleMistake, RuleReader } from './rule-reader.js'

/** Knows the clients. */
export interface KnownDevices {
  devices(): readonly KnownDevice[]
}

export interface RuleChecksOptions {
  readonly store: Pick<TimeSeriesStore, 'series'>
  readonly naming: SeriesNaming
  readonly clients: KnownDevices
}

/** Most checks that wait, most series that are looked at, and most that are named. */
const maxChecks = 8
const maxLooked = 1_000_000
const maxNamed = 50
const pageSize = 10_000

type CheckedSeries = RuleCheckAnswer['selected'][number]

/** Checks of rules that are being written: their mistakes, and what they would watch now. */
export class RuleChecks {
  readonly #options: RuleChecksOptions
  readonly #queue = new SerialQueue()
  #waiting = 0
  #isStopped = false

  constructor(options: RuleChecksOptions) {
    this.#options = options
  }

  stop(): void {
    this.#isStopped = true
  }

  /**
   * Resolves with the mistakes of a rule, and with what it selects if it has none. Rejects with `too_many`, `stopping`, or
   * the errors of the store.
   */
  async run(
    name: string | undefined,
    given: unknown,
    book: Pick<RuleBook, 'rules' | 'placeOf'>,
  ): Promise<RuleCheckAnswer> {
    const { rule, mistakes } = readRule(name, given, book)
    const found = mistakes.map(({ path, sentence }) => ({ path: path.map(String), sentence }))
    if (!rule || rule.condition.kind === 'hub') return { mistakes: found, count: 0, selected: [] }
    if (isAboutDevices(rule)) return { mistakes: found, ...this.#devicesOf(rule) }
    if (this.#waiting >= maxChecks) throw new HubError('too_many', `${maxChecks} checks are under way; try again`)
    this.#waiting++
    try {
      return { mistakes: found, ...(await this.#queue.run(() => this.#seriesOf(rule))) }
    } finally {
      this.#waiting--
    }
  }

  #devicesOf(rule: AlertRule): Omit<RuleCheckAnswer, 'mistakes'> {
    const { naming, clients } = this.#options
    const selected: CheckedSeries[] = []
    let count = 0
    for (const { clientId } of clients.devices()) {
      const names = naming.namesOf(clientId)
      if (!isDeviceSelected(rule, names)) continue
      if (count++ < maxNamed) selected.push({ series: clientId, label: names[1] ?? clientId, device: clientId })
    }
    return { count, selected }
  }

  async #seriesOf(rule: AlertRule): Promise<Omit<RuleCheckAnswer, 'mistakes'>> {
    const { store, naming } = this.#options
    if (doesSelectPlaces(rule)) await naming.ready?.()
    const slices = new Slices()
    const selected: CheckedSeries[] = []
    let [count, looked] = [0, 0]
    let after: string | undefined
    do {
      const page = await store.series({ limit: pageSize, after })
      looked += page.series.length
      for (const { measurement, tags, field, type } of page.series) {
        if (slices.isOver) await slices.turn()
        if (this.#isStopped) throw new HubError('stopping', 'the hub stops')
        const id = { measurement, tags, field }
        const names = naming.describe(id, undefined)
        if (!isSeriesSelected(rule, names) || count++ >= maxNamed) continue
        const { label, device, unit } = names
        selected.push({
          ...{ series: seriesKey(id), label, type },
          ...(device !== undefined && { device }),
          ...(unit !== undefined && { unit }),
        })
      }
      after = page.next
    } while (after !== undefined && looked < maxLooked)
    return { count, selected, ...(after !== undefined && { incomplete: true as const }) }
  }
}

/** Returns the rule, as far as it can be read, and its mistakes. Paths begin below the name of the rule. */
function readRule(name: string | undefined, given: unknown, book: Pick<RuleBook, 'rules' | 'placeOf'>) {
  const reader = new RuleReader()
  const mistakes: RuleMistake[] = []
  const place = name === undefined ? undefined : book.placeOf(name)
  if (place) mistakes.push({ path: ['name'], sentence: `a rule of this name is in ${place.file}` })
  // The path of a mistake of the name is empty.
  const rule = reader.read(name ?? 'test', given, [])
  const others = book.rules.filter(one => one.name !== rule?.name)
  if (rule) reader.ordered([rule, ...others], [])
  for (const { path, sentence } of reader.mistakes) {
    const below = path[0] === rule?.name && rule ? path.slice(1) : path
    mistakes.push({ path: below, sentence })
  }
  return { rule, mistakes: mistakes.slice(0, maxNamed) }
}
