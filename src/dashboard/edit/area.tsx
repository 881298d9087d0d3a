import type { HomeDevice } from '../home/catalogue.js'
import { nameText } from '../wording.js'
import type { Arranging } from './arrange.js'
import { DeviceRow } from './device-row.js'
import { EditIcon } from './edit-icon.js'
import { Field } from './field.js'
import { say } from './words.js'

interface AreaProperties {
  readonly name: string
  /** Devices that the search finds. */
  readonly devices: readonly HomeDevice[]
  readonly all: readonly HomeDevice[]
  /** Place among the areas; less than 0: has none, as for devices without an area. */
  readonly at: number
  readonly count: number
  readonly arranging: Arranging
}

/** An area and the devices there, to be arranged. */
export function ArrangeArea({ name, devices, all, at, count, arranging }: AreaProperties) {
  if (devices.length === 0) return null
  const title = name === '' ? say('no-area') : nameText(name)
  return (
    <section class="arrange-area" data-drop-key={`a:${name}`} aria-label={title}>
      {at < 0 ? (
        <div class="arrange-title">
          <h3>{title}</h3>
        </div>
      ) : (
        <div class="arrange-title">
          <span class="drag-handle" onPointerDown={event => arranging.drag(event, { area: name })}>
            <EditIcon name="drag" />
          </span>
          <h3 class="unseen">{title}</h3>
          <Field
            label={say('area-name')}
            value={name}
            fault={text => (text === '' ? say('area-empty') : '')}
            save={text => arranging.renameArea(name, text)}
          />
          <button
            type="button"
            class="tool"
            data-act="earlier"
            disabled={at === 0}
            aria-label={say('earlier', { name: title })}
            onClick={() => arranging.moveArea(name, at - 1, 'earlier')}
          >
            <EditIcon name="earlier" />
          </button>
          <button
            type="button"
            class="tool"
            data-act="later"
            disabled={at === count - 1}
            aria-label={say('later', { name: title })}
            onClick={() => arranging.moveArea(name, at + 1, 'later')}
          >
            <EditIcon name="later" />
          </button>
        </div>
      )}
      <ul>
        {devices.map(device => (
          <DeviceRow
            key={device.id}
            device={device}
            at={all.indexOf(device)}
            count={all.length}
            arranging={arranging}
          />
        ))}
      </ul>
    </section>
  )
}
