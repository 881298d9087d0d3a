import { nameText, reasonText } from '../wording.js'
import { momentOf } from './moment.js'
import type { Mapped } from './requests.js'
import { say, sayCount } from './words.js'

const mostRows = 100

/** The outcome of the mapping for a message: values, or why there are none. */
export function MappedView({ mapped }: { readonly mapped: Mapped }) {
  const { rule, place, preset, outcome, ignored, reason, detail, points } = mapped
  const why = `${reasonText(reason ?? '') || reason || ''}${detail ? ` — ${nameText(detail)}` : ''}`
  const rows = points.flatMap(point =>
    point.fields.map(field => ({ ...field, time: point.time, series: seriesText(point, field.name) })),
  )
  return (
    <section>
      <h3>{say('mapped.title')}</h3>
      <p class="mapped-by">
        {outcome === 'dead' ? (
          <span class="mark" data-mark="refused">
            {say('mark.refused')}
          </span>
        ) : outcome === 'stored' ? (
          <span class="mark" data-mark="stored">
            {sayCount('mapped.stored', rows.length)}
          </span>
        ) : null}{' '}
        {rule !== undefined
          ? say('mapped.rule', { rule: nameText(rule) })
          : preset !== undefined
            ? say('mapped.preset', { preset })
            : say('mapped.neither')}
        {place ? ` (${say(`mapped.${place.from}`, { number: place.number })})` : ''}
      </p>
      {outcome === 'dead' ? <p class="trouble">{say('mapped.dead', { why })}</p> : null}
      {outcome === 'nothing' ? <p class="hint">{say('mapped.nothing')}</p> : null}
      {outcome === 'ignored' ? <p class="hint">{say('mapped.ignored', { what: ignored ?? '' })}</p> : null}
      {outcome === 'stored' && reason !== undefined ? <p class="trouble">{say('mapped.partly', { why })}</p> : null}
      {rows.length > 0 ? (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard.
        <section class="table" tabIndex={0} aria-label={say('mapped.title')}>
          <table>
            <thead>
              <tr>
                <th scope="col">{say('mapped.series')}</th>
                <th scope="col">{say('mapped.value')}</th>
                <th scope="col">{say('mapped.time')}</th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, mostRows).map(({ series, value, unit, time }, i) => (
                <tr key={i}>
                  <td>
                    <bdi>{nameText(series)}</bdi>
                  </td>
                  <td class="table-value">
                    <bdi>{nameText(String(value))}</bdi>
                    {unit === undefined ? '' : ` ${nameText(unit)}`}
                  </td>
                  <td>{momentOf(time)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      ) : null}
    </section>
  )
}

/** Returns a series in a form that people read: `home room=kitchen temperature`. */
export function seriesText({ measurement, tags }: Mapped['points'][number], field: string): string {
  const named = Object.entries(tags).map(([name, value]) => `${name}=${value}`)
  return [measurement, ...named, field].join(' ')
}
