import { Fragment } from 'preact'
import { useState } from 'preact/hooks'
import { sizeText } from '../sizes.js'
import { countText } from '../wording.js'
import type { SettingsKey } from './en.js'
import { dayText } from './moments.js'
import { fetchStore, type StoreAnswer } from './requests.js'
import { useLoaded } from './use-loaded.js'
import { say } from './words.js'

const tiers = ['raw', '1m', '1h', '1d'] as const
type Tier = (typeof tiers)[number]

/** Times to choose from. */
const choices = ['1d', '7d', '30d', '90d', '180d', '1y', '2y', '5y', '10y'] as const

const names: Readonly<Record<Tier, SettingsKey>> = {
  raw: 'tier.raw',
  '1m': 'tier.1m',
  '1h': 'tier.1h',
  '1d': 'tier.1d',
}

/** How long readings are kept, how much room they need, and what was deleted; with a forecast for other times. */
export function Kept() {
  const [keep, setKeep] = useState<string>()
  const { value, trouble } = useLoaded(() => fetchStore(keep), keep ?? '')
  const { value: inForce } = useLoaded(() => fetchStore())
  return (
    <>
      <div class="set-head">
        <h2>{say('part.kept')}</h2>
        <p class="hint">{say('kept.text')}</p>
        <a href="#settings&part=noise">{say('kept.noise')}</a>
      </div>
      <p class="set-trouble" role="alert">
        {trouble}
      </p>
      {value === undefined && trouble === '' ? <p class="hint">{say('loading')}</p> : null}
      {inForce ? <Now store={inForce} /> : null}
      {value?.forecast ? <Forecast store={value} onKeep={setKeep} /> : null}
      {inForce ? <Deleted rows={inForce.deleted} /> : null}
    </>
  )
}

function Now({ store }: { readonly store: StoreAnswer }) {
  const { kind, keep, limit, bytes, diskFree, held, tables } = store
  return (
    <section class="card" aria-labelledby="kept-now">
      <h2 id="kept-now">{say('kept.now')}</h2>
      {held === undefined ? null : (
        <p class="set-warning">
          <bdi>{say('kept.held', { why: held })}</bdi>
        </p>
      )}
      {kind === 'influxdb' ? <p>{say('kept.influx')}</p> : null}
      <dl class="set-facts">
        <dt>{say('kept.setting')}</dt>
        <dd>{keep === '' ? say('kept.ever') : <code>{keep}</code>}</dd>
        {bytes === undefined ? null : (
          <>
            <dt>{say('kept.size')}</dt>
            <dd>{sizeText(bytes)}</dd>
            <dt>{say('kept.free')}</dt>
            <dd>{sizeText(diskFree ?? 0)}</dd>
            <dt>{say('kept.limit')}</dt>
            <dd>{limit === 0 ? say('kept.no-limit') : sizeText(limit)}</dd>
          </>
        )}
      </dl>
      {tables.length === 0 ? null : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard.
        <section class="set-kept" tabIndex={0} aria-label={say('kept.tables')}>
          <table>
            <thead>
              <tr>
                <th scope="col">{say('kept.tier')}</th>
                <th scope="col">{say('kept.rows')}</th>
                <th scope="col">{say('kept.bytes')}</th>
                <th scope="col">{say('kept.day')}</th>
                <th scope="col">{say('kept.since')}</th>
              </tr>
            </thead>
            <tbody>
              {tables.map(({ tier, rows, bytes: size, bytesPerDay, oldest }) => (
                <tr key={tier}>
                  <th scope="row">{say(names[tier])}</th>
                  <td>{countText(rows)}</td>
                  <td>{sizeText(size)}</td>
                  <td>{sizeText(bytesPerDay)}</td>
                  <td>{oldest === undefined ? '–' : dayText(oldest)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </section>
  )
}

function Forecast({ store, onKeep }: { readonly store: StoreAnswer; readonly onKeep: (keep: string) => void }) {
  const [times, setTimes] = useState<Readonly<Record<string, string>>>(() =>
    Object.fromEntries(store.keep.split(',').map(one => one.split('=') as [string, string])),
  )
  const { forecast, tables } = store
  const asked = tiers
    .filter(tier => tables.some(one => one.tier === tier))
    .map(tier => `${tier}=${times[tier] ?? 'forever'}`)
    .join(',')
  const options = (tier: Tier) => {
    const own = times[tier]
    const isOwn = own !== undefined && own !== 'forever' && !choices.some(one => one === own)
    return isOwn ? [own, ...choices] : choices
  }
  return (
    <section class="card" aria-labelledby="kept-forecast">
      <h2 id="kept-forecast">{say('kept.forecast')}</h2>
      <p class="hint">{say('kept.forecast-text')}</p>
      <form
        class="set-filters"
        onSubmit={event => {
          event.preventDefault()
          onKeep(asked)
        }}
      >
        {tables.map(({ tier }) => (
          <label key={tier}>
            {say(names[tier])}
            <select
              value={times[tier] ?? 'forever'}
              onChange={event => setTimes({ ...times, [tier]: event.currentTarget.value })}
            >
              {options(tier).map(one => (
                <option key={one} value={one}>
                  {one}
                </option>
              ))}
              <option value="forever">{say('kept.forever')}</option>
            </select>
          </label>
        ))}
        <div class="set-acts">
          <button type="submit" class="plain">
            {say('kept.try')}
          </button>
        </div>
      </form>
      <dl class="set-facts" aria-live="polite">
        {forecast?.at.map(({ days, bytes }) => (
          <Fragment key={days}>
            <dt>{say('kept.in', { days: countText(days) })}</dt>
            <dd>{sizeText(bytes)}</dd>
          </Fragment>
        ))}
        <dt>{say('kept.most')}</dt>
        <dd>{forecast?.most === undefined ? say('kept.grows') : sizeText(forecast.most)}</dd>
      </dl>
      <p>
        {forecast?.fullInDays === undefined
          ? say('kept.fits')
          : say('kept.full', { days: countText(forecast.fullInDays) })}
      </p>
      <p class="hint">
        {say('kept.line')} <code>{`store.keep: {${asked.replaceAll('=', ': ').replaceAll(',', ', ')}}`}</code>
      </p>
    </section>
  )
}

function Deleted({ rows }: { readonly rows: StoreAnswer['deleted'] }) {
  return (
    <section class="card" aria-labelledby="kept-deleted">
      <h2 id="kept-deleted">{say('kept.deleted')}</h2>
      {rows.length === 0 ? <p class="hint">{say('kept.none')}</p> : null}
      <ul>
        {rows.slice(0, 20).map(({ tier, why, day, readings, from, to }) => (
          <li key={`${day} ${tier} ${why}`}>
            {dayText(day)}: {say(names[tier])},{' '}
            {say('kept.row', {
              count: countText(readings),
              from: dayText(from),
              to: dayText(to),
              why: say(why === 'age' ? 'kept.age' : 'kept.over'),
            })}
          </li>
        ))}
      </ul>
    </section>
  )
}
