import type { Answer, Received } from '../../contract/contract.js'
import { encodeJson, type Json } from '../../contract/contract.js'
import { HubError } from '../../errors.js'
import { type FieldValue, parseSeriesKey, seriesKey } from '../../model.js'
import { RestedSlices } from '../../runtime/slices.js'
import type { BusiestSeries, GroupReading, SeriesReader, TimeSeriesStore } from '../../store/store.js'
import type { Dependencies } from '../dependencies.js'
import type { Mapping } from '../mapping.js'
import { Thinning, type ThinningRule } from '../thinning.js'

type NoiseAnswer = Answer<'GET /api/noise'>
type NoisySeries = NoiseAnswer['rows'][number]
type ThinningTrial = NoisySeries['tried'][number]

export interface NoiseOptions {
  readonly store: TimeSeriesStore
  readonly mapping: Mapping
  readonly dependencies: Dependencies
}

const dayMs = 86_400_000

/** Most readings of a series on which rules are tried: the newest ones. */
const mostTried = 50_000

/** Shares of the range of the values that are tried as dead bands. */
const shares = [0.001, 0.01, 0.05]

/** A rule that stores at most this share of the points is proposed; the most exact one of them. */
const enough = 0.1

/** An unchanged value is stored after so long all the same, so that a silent device shows. */
const heartbeat = '1h'
const heartbeatMicros = 3_600e6

/**
 * Finds the series with the most points of the last day, and tries on their readings what `onChange` and dead bands would
 * leave of them, with the code that thins what arrives.
 */
export class Noise {
  readonly #options: NoiseOptions

  constructor(options: NoiseOptions) {
    this.#options = options
  }

  /** Rejects with `bad_request` when the store cannot be asked, or there is no such series. */
  async list({ series: key, limit, hours }: Received<'GET /api/noise'>): Promise<Json<NoiseAnswer>> {
    const { store, dependencies } = this.#options
    const { reader } = store
    if (!reader) {
      throw new HubError(
        'bad_request',
        'the store of this hub is InfluxDB, of which the hub cannot ask the busiest series',
        { said: { code: 'influx-noise', values: {} } },
      )
    }
    const series = key === undefined ? undefined : parseSeriesKey(key)
    if (key !== undefined && !series)
      throw new HubError('bad_request', `series: given ${JSON.stringify(key)}, allowed is a key from /api/series`)
    const to = Date.now() * 1_000
    const from = to - (hours / 24) * dayMs * 1_000
    const found = await dependencies.ask('store', () => reader.busiest({ from, to, limit, series }))
    const rows: NoisySeries[] = []
    for (const one of found.busiest) rows.push(await this.#row(reader, one, from, to))
    return encodeJson<NoiseAnswer>({
      ...{ from: from / 1_000, to: to / 1_000, series: found.series, points: found.points, bytes: found.bytes, rows },
    })
  }

  async #row(
    reader: SeriesReader,
    one: BusiestSeries['busiest'][number],
    from: number,
    to: number,
  ): Promise<NoisySeries> {
    const { mapping, dependencies } = this.#options
    const { id, type, points, bytes, ...series } = one
    const query = { type, series: [id], groups: [0], from, to, limit: mostTried, descending: true, perGroup: mostTried }
    const readings = (await dependencies.ask('store', () => reader.readings(query))).toReversed()
    const sources = mapping.sourcesOf(series)
    const topic = sources.length === 1 ? sources[0] : undefined
    const tried = await this.#tried(readings, points)
    const best = tried.find(trial => trial.points <= points * enough) ?? tried.at(-1)
    const unit = mapping.unit(series, mapping.topicOf(series))
    const isWorth = best !== undefined && best.points < points * 0.9
    return {
      series: seriesKey(series),
      ...{ type, points, bytes, readings: readings.length, tried },
      ...(unit !== undefined && { unit }),
      ...(topic !== undefined && isWorth && { rule: ruleOf(topic, series.field, best) }),
    }
  }

  /** Returns what each rule would leave, the most exact one first. */
  async #tried(readings: readonly GroupReading[], points: number): Promise<readonly ThinningTrial[]> {
    const trials: ThinningTrial[] = []
    for (const deadband of deadbands(readings)) {
      const { kept, error } = await thinned(readings, deadband)
      const left = readings.length === 0 ? 0 : Math.round((points * kept) / readings.length)
      trials.push({ ...(deadband > 0 && { deadband }), points: left, error })
    }
    return trials
  }
}

/** Returns the dead bands to try, ascending; 0: only what changes is stored. */
function deadbands(readings: readonly GroupReading[]): readonly number[] {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { value } of readings) {
    if (typeof value !== 'number') return [0]
    least = Math.min(least, value)
    most = Math.max(most, value)
  }
  if (!(most > least)) return [0]
  return [...new Set([0, ...shares.map(share => rounded((most - least) * share))])]
}

/** Returns the number 1, 2 or 5 times a power of ten that is at most `value`. */
function rounded(value: number): number {
  const power = Math.floor(Math.log10(value))
  const digit = [5, 2, 1].find(one => Number(`${one}e${power}`) <= value * (1 + 1e-9)) ?? 1
  return Number(`${digit}e${power}`)
}

/** Returns how many readings are left, and by how much the last stored value is wrong at most. */
async function thinned(readings: readonly GroupReading[], deadband: number) {
  const rule: ThinningRule = {
    onChange: { heartbeat: heartbeatMicros },
    ...(deadband > 0 && { deadband: { '*': deadband } }),
  }
  const thinning = new Thinning()
  const slices = new RestedSlices()
  let [kept, error] = [0, 0]
  let last: FieldValue | undefined
  for (const { time, value } of readings) {
    if (slices.isOver) await slices.turn()
    const point = { measurement: '', tags: [], fields: [['value', value]] as const, time }
    if (thinning.thin([point], { thinning: rule }).length > 0) {
      kept++
      last = value
    } else if (typeof last === 'number' && typeof value === 'number') error = Math.max(error, Math.abs(value - last))
  }
  return { kept, error: Number(error.toPrecision(6)) }
}

/** Returns the mapping rule of the hub that stores less of a field, and leaves the rest of the mapping as it is. */
function ruleOf(topic: string, field: string, { deadband }: ThinningTrial): NonNullable<NoisySeries['rule']> {
  return { topic, onChange: { heartbeat }, ...(deadband !== undefined && { deadband: { [field]: deadband } }) }
}
