import { say, sayCount } from '../texts/language.js'
import { nameText } from '../wording.js'
import { type HomeControl, type HomeDevice, type HomeValue, keyOf, type Level, levelOf } from './catalogue.js'
import { useModel } from './context.js'
import { Control, Switch } from './controls.js'
import { nameOf } from './format.js'
import { Icon } from './icons.js'
import { type Density, hasControlRow } from './layout.js'
import type { Live } from './live.js'
import type { Order } from './orders.js'
import { Pure } from './pure.js'
import { Reading, Status } from './reading.js'
import { Receipt } from './receipt.js'

export interface CardProperties {
  readonly device: HomeDevice
  readonly live: Live
  /** Whether Tab goes to this card; arrow keys go on from there. */
  readonly isActive: boolean
  readonly density: Density
  /** The newest command of the device, so that the card is drawn again with each receipt. */
  readonly order: Order | undefined
}

/** Values that a card shows large. */
export function mainsOf({ values }: HomeDevice): readonly HomeValue[] {
  return values.filter(({ main, hidden }) => main && !hidden).slice(0, 4)
}

/** The switch that stands in the head of a card. */
function headSwitch({ controls }: HomeDevice): HomeControl | undefined {
  return controls.find(({ kind, dangerous }) => kind === 'switch' && !dangerous)
}

/** The address of the sheet of a device. */
export function addressOf(id: string): string {
  return `#${new URLSearchParams({ thing: id })}`
}

/** One device: in each density an item of a list, with a link that opens the sheet. */
export class Card extends Pure<CardProperties> {
  override render({ device, density, isActive, live, order }: CardProperties) {
    const level = levelOf(device)
    const properties = { device, live, level, isActive, order }
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

interface BodyProperties {
  readonly device: HomeDevice
  readonly live: Live
  readonly level: Level
  readonly isActive: boolean
  readonly order: Order | undefined
}

function Name({ device, level, isActive }: Pick<BodyProperties, 'device' | 'level' | 'isActive'>) {
  const name = nameText(device.name)
  return (
    <a class="thing-link" href={addressOf(device.id)} tabIndex={isActive ? 0 : -1} title={name}>
      <bdi>{name}</bdi>
      <span class="unseen">
        {device.area ? `, ${nameText(device.area)}` : ''}, {levelWord(level)}
      </span>
    </a>
  )
}

/** Words for a level, so that colour alone never says something. */
export function levelWord(level: Level): string {
  if (level === 'ok') return say('card.well')
  if (level === 'unstored') return say('sheet.live-only')
  return level === 'silent' || level === 'offline' ? say(`card.${level}`) : say(`severity.${level}`)
}

function DeviceIcon({ device }: { readonly device: HomeDevice }) {
  return (
    <span class="thing-icon">
      <Icon name={device.icon ?? device.class} size={22} />
    </span>
  )
}

function Full({ device, live, level, isActive, order }: BodyProperties) {
  const mains = mainsOf(device)
  const first = headSwitch(device)
  const others = device.controls.filter(control => control !== first)
  return (
    <>
      <div class="thing-head">
        <DeviceIcon device={device} />
        <div class="thing-title">
          <Name device={device} level={level} isActive={isActive} />
          <Status live={live} device={device} />
        </div>
        {level === 'ok' || level === 'unstored' ? null : <LevelMark level={level} />}
        {first ? <Switch control={first} device={device.name} /> : null}
      </div>
      <dl class="mains" data-count={mains.length}>
        {mains.length === 0 ? <div class="hint">{say('card.no-values')}</div> : null}
        {mains.map(value => (
          <div class="main-value" key={keyOf(value)}>
            <dt>{nameOf(value)}</dt>
            <dd>
              <Reading live={live} value={value} />
            </dd>
          </div>
        ))}
      </dl>
      {hasControlRow(device) ? <ControlRow controls={others} device={device.name} /> : null}
      <Foot device={device} live={live} order={order} shown={mains.length} />
    </>
  )
}

/** As many controls as one row holds: a slider or a choice alone, or up to three buttons. */
function ControlRow({ controls, device }: { readonly controls: readonly HomeControl[]; readonly device: string }) {
  const wide = controls.find(({ kind }) => kind === 'slider' || kind === 'choice')
  const shown = wide ? [wide] : controls.slice(0, 3)
  return (
    <div class="thing-controls">
      {shown.map(control => (
        <Control key={`${control.topic} ${control.name}`} control={control} device={device} />
      ))}
    </div>
  )
}

interface FootProperties {
  readonly device: HomeDevice
  readonly live: Live
  readonly order: Order | undefined
  readonly shown: number
}

function Foot({ device, live, order, shown }: FootProperties) {
  if (order) {
    return (
      <div class="thing-foot">
        <Receipt controls={device.controls} />
      </div>
    )
  }
  const more = device.values.length + device.more - shown
  const { battery } = device
  return (
    <div class="thing-foot">
      {more > 0 ? <span>{sayCount('card.more', more)}</span> : null}
      {device.notKept > 0 ? <span class="thing-unstored">{sayCount('card.not-stored', device.notKept)}</span> : null}
      {battery ? <Battery live={live} of={battery} /> : null}
    </div>
  )
}

function Battery({
  live,
  of,
}: {
  readonly live: Live
  readonly of: { readonly topic: string; readonly field: string }
}) {
  const value: HomeValue = {
    ...of,
    name: '',
    class: 'battery',
    unit: '%',
    decimals: 0,
    main: false,
    role: 'diagnostic',
    fate: 'kept',
  }
  return (
    <span class="thing-battery" title={say('card.battery-title')}>
      <Icon name="battery" size={15} />
      <span class="unseen">{say('card.battery-title')}</span>
      <Reading live={live} value={value} />
    </span>
  )
}

function LevelMark({ level }: { readonly level: Level }) {
  const name = level === 'silent' || level === 'offline' ? 'silent' : 'alert'
  return (
    <span class="level-mark" data-level={level} title={levelWord(level)}>
      <Icon name={name} size={18} />
    </span>
  )
}

function Line({ device, live, level, isActive, order }: BodyProperties) {
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

/** The newest command of a device that this page has sent. */
export function useOrder(device: HomeDevice): Order | undefined {
  const { orders } = useModel()
  return newestOrder(device, control => orders.of(control))
}

export function newestOrder(
  { controls }: HomeDevice,
  orderOf: (control: HomeControl) => Order | undefined,
): Order | undefined {
  let newest: Order | undefined
  for (const control of controls) {
    const order = orderOf(control)
    if (order && (!newest || order.begun >= newest.begun)) newest = order
  }
  return newest
}
