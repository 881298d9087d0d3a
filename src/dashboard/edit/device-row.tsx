import type { HomeDevice } from '../home/catalogue.js'
import { nameOf } from '../home/format.js'
import { Icon } from '../home/icons.js'
import { nameText } from '../wording.js'
import type { Arranging } from './arrange.js'
import { EditIcon } from './edit-icon.js'
import { say } from './words.js'

interface RowProperties {
  readonly device: HomeDevice
  /** Place in the area. */
  readonly at: number
  readonly count: number
  readonly arranging: Arranging
}

/** A device that can be moved, hidden and changed. */
export function DeviceRow({ device, at, count, arranging }: RowProperties) {
  const name = nameText(device.name)
  const { area = '', hidden = false } = device
  const mains = device.values.filter(({ main, hidden }) => main && !hidden).map(nameOf)
  const about = hidden ? say('hidden') : mains.join(' · ')
  return (
    <li class="arrange-device" data-drop-key={`d:${device.id}`} data-hidden={hidden}>
      <span class="drag-handle" onPointerDown={event => arranging.drag(event, { device })}>
        <EditIcon name="drag" />
      </span>
      <span class="thing-icon">
        <Icon name={device.icon ?? device.class} size={20} />
      </span>
      <button
        type="button"
        class="arrange-name"
        aria-label={`${say('change', { name })} ${about}`}
        onClick={() => arranging.change(device)}
      >
        <span>
          <bdi>{name}</bdi> <EditIcon name="change" size={13} />
        </span>
        <span class="hint">{about}</span>
      </button>
      <button
        type="button"
        class="tool"
        data-act="earlier"
        disabled={at === 0}
        aria-label={say('earlier', { name })}
        onClick={() => arranging.move(device, area, at - 1, 'earlier')}
      >
        <EditIcon name="earlier" />
      </button>
      <button
        type="button"
        class="tool"
        data-act="later"
        disabled={at === count - 1}
        aria-label={say('later', { name })}
        onClick={() => arranging.move(device, area, at + 1, 'later')}
      >
        <EditIcon name="later" />
      </button>
      <button
        type="button"
        class="tool"
        aria-pressed={hidden}
        aria-label={say('hide', { name })}
        title={say(hidden ? 'hidden' : 'shown')}
        onClick={() => arranging.hide(device, !hidden)}
      >
        <EditIcon name={hidden ? 'hidden' : 'shown'} />
      </button>
    </li>
  )
}
