import type { ComponentChildren } from 'preact'
import { say, sayCount } from '../texts/language.js'
import { type BodyProperties, DeviceIcon, headSwitch, LevelMark, mainsOf, Name } from './card-parts.js'
import { type HomeControl, type HomeDevice, type HomeValue, keyOf } from './catalogue.js'
import { Control } from './control.js'
import { Status } from './device-status.js'
import { nameOf } from './format.js'
import { Icon } from './icons.js'
import { hasControlRow } from './layout.js'
import type { Live } from './live.js'
import type { Order } from './orders.js'
import { Reading } from './reading.js'
import { Receipt } from './receipt.js'
import { Star } from './star.js'
import { Switch } from './switch.js'

/** A device as a card. */
export function Full({ device, live, level, isFavourite, isActive, order }: BodyProperties) {
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
        {mains.length === 0 && device.more === 0 ? <div class="hint">{say('card.no-values')}</div> : null}
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
      <Foot device={device} live={live} order={order} shown={mains.length}>
        <Star device={device} isFavourite={isFavourite} isActive={isActive} />
      </Foot>
    </>
  )
}

/** Controls for one row: a slider or a choice alone, or up to three buttons. */
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
  readonly children: ComponentChildren
}

function Foot({ device, live, order, shown, children }: FootProperties) {
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
      {children}
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
    thresholds: { low: 20, veryLow: 10 },
  }
  return (
    <span class="thing-battery" title={say('card.battery-title')}>
      <Icon name="battery" size={15} />
      <span class="unseen">{say('card.battery-title')}</span>
      <Reading live={live} value={value} />
    </span>
  )
}
