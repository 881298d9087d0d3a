import { useState } from 'preact/hooks'
import type { HomeDevice } from '../home/catalogue.js'
import { nameText } from '../wording.js'
import type { DeviceEdit, DevicePatch } from './changes.js'
import type { Outcome } from './editor.js'
import { Field } from './field.js'
import { useWanted } from './wanted.js'
import { say } from './words.js'

interface ChoiceProperties {
  readonly device: HomeDevice
  readonly edit: DeviceEdit
  readonly areas: readonly string[]
  readonly save: (change: DevicePatch) => Promise<Outcome>
}

/** Value of the choice of an area that there is not yet. No name has a line break. */
const another = '\n'

/** The area of a device: one of those there are, a new one, or none. */
export function AreaChoice({ device, edit, areas, save }: ChoiceProperties) {
  const [isNew, setNew] = useState(false)
  const [area, choose] = useWanted(edit.area ?? device.area ?? '', chosen => save({ area: chosen, order: null }))
  const all = area === '' || areas.includes(area) ? areas : [...areas, area]
  return (
    <>
      <div class="field">
        <label>
          <span class="field-label">{say('area')}</span>
          <select
            value={isNew ? another : area}
            onChange={event => {
              const chosen = event.currentTarget.value
              setNew(chosen === another)
              if (chosen !== another) choose(chosen)
            }}
          >
            <option value="">{say('no-area')}</option>
            {all.map(name => (
              <option key={name} value={name}>
                {nameText(name)}
              </option>
            ))}
            <option value={another}>{say('new-area')}</option>
          </select>
        </label>
      </div>
      {isNew ? (
        <Field
          label={say('new-area-name')}
          value=""
          save={async text => {
            const outcome = await save({ area: text, order: null })
            if (outcome === 'saved') setNew(false)
            return outcome
          }}
        />
      ) : null}
    </>
  )
}
