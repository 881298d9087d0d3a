import { Full } from './card-full.js'
import { type BodyProperties, DeviceIcon, headSwitch, mainsOf, Name } from './card-parts.js'
import { type HomeDevice, keyOf, type Level } from './catalogue.js'
import { Status } from './device-status.js'
import { nameOf } from './format.js'
import type { Density } from './layout.js'
import type { Live } from './live.js'
import type { Order } from './orders.js'
import { Pure } from './pure.js'
import { Reading } from './reading.js'
import { Receipt } from './receipt.js'
import { Star } from './star.js'
import { Switch } from './switch.js'

export interface CardProperties {
  readonly device: HomeDevice
  readonly live: Live
  readonly level: Level
  readonly isFavourite: boolean
  /** Whether Tab goes to this card; arrow keys go on from there. */
  readonly isActive: boolean
  readonly density: Density
  /** The newest command of the device, so that the card is drawn again with each receipt. */
  readonly order: Order | undefined
}

/** One device: in each density an item of a list, with a link that opens the sheet. */
export class Card extends Pure<CardProperties> {
  override render({ device, density, isActive, live, level, isFavourite, order }: CardProperties) {
    const properties = { device, live, level, isFavourite, isActive, order }
    const body =
      density === 'cards' ? (
        <Full {...properties} />
      ) : density === 'list' ? (
        <Line {...properties} />
      ) : (
        <Cell {...properties} />
      )
    return (
      <li class={`thing thing-${density}`} data-device={device.id} data-level={level}>
        {body}
      </li>
    )
  }
}

function Line({ device, live, level, isFavourite, isActive, order }: BodyProperties) {
  const first = headSwitch(device)
  return (
    <>
      <DeviceIcon device={device} />
      <div class="thing-title">
        <Name device={device} level={level} isActive={isActive} />
        {order ? <Receipt controls={device.controls} /> : <Status live={live} device={device} />}
      </div>
      <div class="line-values">
        {mainsOf(device).map(value => (
          <span class="line-value" key={keyOf(value)} title={nameOf(value)}>
            <span class="unseen">{nameOf(value)} </span>
            <Reading live={live} value={value} />
          </span>
        ))}
      </div>
      {first ? <Switch control={first} device={device.name} /> : null}
      <Star device={device} isFavourite={isFavourite} isActive={isActive} />
    </>
  )
}

function Cell({ device, live, level, isActive }: BodyProperties) {
  const [value] = mainsOf(device)
  return (
    <>
      <Name device={device} level={level} isActive={isActive} />
      {value ? <Reading live={live} value={value} /> : null}
    </>
  )
}
