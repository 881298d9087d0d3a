import { useState } from 'preact/hooks'
import { sizeText } from '../sizes.js'
import { locale } from '../texts/language.js'
import { countText, nameText } from '../wording.js'
import type { PartProperties } from './part.js'
import { fetchNoise, type NoisySeries, storeLess, undoMapping } from './requests.js'
import { useLoaded } from './use-loaded.js'
import { say } from './words.js'

/** The rule that was written last, so that it can be taken back while nobody has changed the rules since. */
interface Written {
  readonly series: string
  readonly revision: string
}

/** The series with the most points, and for each what rules that store less would leave; one button writes the rule. */
export function Noise({ search }: PartProperties) {
  const { value, trouble, again } = useLoaded(fetchNoise)
  const [busy, setBusy] = useState(false)
  const [written, setWritten] = useState<Written>()
  const [told, setTold] = useState({ note: '', trouble: '' })
  const run = async (work: () => Promise<string>) => {
    setBusy(true)
    setTold({ note: '', trouble: '' })
    try {
      setTold({ note: await work(), trouble: '' })
    } catch (error) {
      setTold({ note: '', trouble: say('failed', { why: (error as Error).message }) })
    }
    setBusy(false)
    again()
  }
  const fix = (series: string, deadband: number) =>
    run(async () => {
      const { revision } = await storeLess(series, deadband)
      setWritten({ series, revision })
      return say('noise.done', { series: nameText(series) })
    })
  const undo = ({ revision }: Written) =>
    run(async () => {
      await undoMapping(revision)
      setWritten(undefined)
      return say('noise.undone')
    })
  const rows = (value?.rows ?? []).filter(({ series }) => series.toLowerCase().includes(search.toLowerCase()))
  return (
    <>
      <div class="set-head">
        <h2>{say('part.noise')}</h2>
        <p class="hint">{say('noise.text')}</p>
      </div>
      <p class="set-trouble" role="alert">
        {trouble || told.trouble}
      </p>
      <div class="set-line">
        <p class="set-note" role="status">
          <bdi>{told.note}</bdi>
        </p>
        {written ? (
          <button type="button" class="plain" disabled={busy} onClick={() => void undo(written)}>
            {say('noise.undo')}
          </button>
        ) : null}
      </div>
      {value ? (
        <p>
          {value.rows.length === 0
            ? say('noise.none')
            : say('noise.sum', {
                points: countText(value.points),
                series: countText(value.series),
                size: sizeText(value.bytes),
              })}
        </p>
      ) : trouble === '' ? (
        <p class="hint">{say('loading')}</p>
      ) : null}
      <ul class="set-list">
        {rows.map(row => (
          <Row key={row.series} {...{ row, busy, fix }} />
        ))}
      </ul>
      {rows.length > 0 ? <p class="hint">{say('noise.hour')}</p> : null}
    </>
  )
}

interface RowProperties {
  readonly row: NoisySeries
  readonly busy: boolean
  readonly fix: (series: string, deadband: number) => Promise<void>
}

function Row({ row, busy, fix }: RowProperties) {
  const { series, points, bytes, tried, rule, unit = '' } = row
  const [proposed] = Object.values((rule?.deadband ?? {}) as Readonly<Record<string, number>>)
  const [chosen, setChosen] = useState(proposed ?? 0)
  const name = nameText(series)
  const left = (after: number) => say('noise.left', { before: shortCount(points), after: countText(after) })
  return (
    <li class="card set-noise">
      <h3>
        <bdi>{name}</bdi>
      </h3>
      <p class="hint">{say('noise.facts', { points: countText(points), size: sizeText(bytes) })}</p>
      {rule ? (
        <>
          <fieldset>
            <legend class="unseen">{say('noise.choose', { series: name })}</legend>
            {tried.map(({ deadband = 0, points: after, error }) => (
              <label key={deadband} class="set-choice">
                <input
                  type="radio"
                  name={`noise ${series}`}
                  checked={chosen === deadband}
                  onChange={() => setChosen(deadband)}
                />
                <span class="set-noise-left">{left(after)}</span>
                <span class="hint">
                  {error === 0 ? say('noise.exact') : say('noise.lost', { error: withUnit(error, unit) })} (
                  {deadband === 0 ? say('noise.change') : say('noise.band', { band: withUnit(deadband, unit) })})
                </span>
              </label>
            ))}
          </fieldset>
          <div class="set-acts">
            <button
              type="button"
              class="plain strong"
              disabled={busy}
              aria-label={say('noise.fix-label', { series: name })}
              onClick={() => void fix(series, chosen)}
            >
              {say('noise.fix')}
            </button>
          </div>
        </>
      ) : (
        <p class="hint">{say('noise.little')}</p>
      )}
    </li>
  )
}

const short = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 })

/** Returns a large count in few characters, such as `1.2 M`. */
function shortCount(count: number): string {
  return count < 100_000 ? countText(count) : short.format(count)
}

const values = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 })

function withUnit(value: number, unit: string): string {
  return `${values.format(value)} ${nameText(unit)}`.trim()
}
