import { say, sayCount } from '../texts/language.js'
import { nameText } from '../wording.js'
import { Card } from './card.js'
import { levelWord } from './card-parts.js'
import type { Group } from './catalogue.js'
import { useModel } from './context.js'
import { Icon } from './icons.js'
import { type Density, gapOf, headingHeight, type Row } from './layout.js'
import { newestOrder } from './orders.js'

export interface GroupProperties {
  readonly group: Group
  readonly rows: readonly Row[]
  /** Columns that the group takes. */
  readonly span: number
  readonly density: Density
  /** Rows that are near the window, from `first` to before `end`. */
  readonly first: number
  readonly end: number
  readonly height: number
  readonly active: string | undefined
}

/**
 * An area with devices. Only the rows near the window are on the page; the rest is space of the right height. The
 * heading is always there, so that a screen reader finds all areas.
 */
export function GroupSection(properties: GroupProperties) {
  const { group, rows, span, density, first, end, height, active } = properties
  const model = useModel()
  const { live, orders } = model
  const shown = rows.slice(first, end)
  const [from, to] = [shown[0]?.from ?? 0, shown.at(-1)?.to ?? 0]
  const name = group.isFavourites
    ? say('home.favourites')
    : group.name === ''
      ? say('home.other-area')
      : nameText(group.name)
  const above = shown[0]?.top ?? 0
  const style = {
    height: `${height}px`,
    paddingTop: `${above}px`,
    gap: `${gapOf(density)}px`,
    gridTemplateColumns: `repeat(${span}, minmax(0, 1fr))`,
    gridTemplateRows: shown.map(row => `${row.height}px`).join(' '),
  }
  return (
    <section class="area" data-level={group.level} aria-label={name} style={{ gridColumn: `span ${span}` }}>
      <h2 style={{ height: `${headingHeight}px` }}>
        <bdi class="area-name">{name}</bdi>
        {group.level === 'ok' ? null : (
          <span class="area-level" data-level={group.level}>
            <Icon name={group.level === 'unstored' ? 'unstored' : 'alert'} size={16} />
            {`${levelWord(group.level)}${group.wrong > 1 ? ` · ${group.wrong}` : ''}`}
          </span>
        )}
        <span class="area-count">{sayCount('devices', group.devices.length)}</span>
      </h2>
      <ul class={`things things-${density}`} style={style}>
        {group.devices.slice(from, to).map(device => (
          <Card
            key={device.id}
            device={device}
            live={live}
            level={model.levelOf(device)}
            isFavourite={model.favourites.includes(device.id)}
            density={density}
            isActive={device.id === active}
            order={newestOrder(device, control => orders.of(control))}
          />
        ))}
      </ul>
    </section>
  )
}
