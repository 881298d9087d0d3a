/** Parts that a device has in each density. */

import { say } from '../texts/language.js'
import { nameText } from '../wording.js'
import { type HomeControl, type HomeDevice, type HomeValue, type Level, withWords } from './catalogue.js'
import { Icon } from './icons.js'
import type { Live } from './live.js'
import type { Order } from './orders.js'

/** All that one density needs to draw a device. */
export interface BodyProperties {
  readonly device: HomeDevice
  readonly live: Live
  readonly level: Level
  readonly isFavourite: boolean
  readonly isActive: boolean
  readonly order: Order | undefined
}

/** Values that a card shows large. */
export function mainsOf(device: HomeDevice): readonly HomeValue[] {
  const mains = device.values.filter(({ main, hidden }) => main && !hidden).slice(0, 4)
  return mains.map(value => withWords(value, device))
}

/** The switch that stands in the head of a card. */
export function headSwitch({ controls }: HomeDevice): HomeControl | undefined {
  return controls.find(({ kind, dangerous }) => kind === 'switch' && !dangerous)
}

/** The address of the sheet of a device, over the board that is shown. */
export function addressOf(id: string): string {
  const board = new URLSearchParams(location.hash.slice(1)).get('board')
  return `#${new URLSearchParams(board === null ? { thing: id } : { board, thing: id })}`
}

/** The name, as the link that opens the sheet. */
export function Name({ device, level, isActive }: Pick<BodyProperties, 'device' | 'level' | 'isActive'>) {
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
  if (level === 'unusual' || level === 'bad') return say(`level.${level}`)
  return level === 'silent' || level === 'offline' ? say(`card.${level}`) : say(`severity.${level}`)
}

export function DeviceIcon({ device }: { readonly device: HomeDevice }) {
  return (
    <span class="thing-icon">
      <Icon name={device.icon ?? device.class} size={22} />
    </span>
  )
}

export function LevelMark({ level }: { readonly level: Level }) {
  const name = level === 'silent' || level === 'offline' ? 'silent' : 'alert'
  return (
    <span class="level-mark" data-level={level} title={levelWord(level)}>
      <Icon name={name} size={18} />
    </span>
  )
}
