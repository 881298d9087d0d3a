import { say } from '../texts/language.js'
import { nameText } from '../wording.js'
import type { ControlOption } from './catalogue.js'
import { type ControlProperties, currentOf, useNow, useSend } from './control-state.js'
import { nameOf, optionName } from './format.js'

/** One of several: buttons beside each other while these are few and short, else a list. */
export function Choice({ control, device }: ControlProperties) {
  const value = useNow(control)
  const send = useSend({ control, device })
  const options = control.options ?? []
  const current = currentOf(options, value)
  const name = nameOf(control)
  const isShort = options.length <= 3 && options.every(option => optionName(option).length <= 8)
  const choose = (option: ControlOption) => void send(option.payload, option.value, `${name}: ${optionName(option)}`)
  if (isShort) {
    return (
      <fieldset class="options" aria-label={`${nameText(device)}: ${name}`}>
        {options.map(option => (
          <button type="button" class="plain" aria-pressed={option === current} onClick={() => choose(option)}>
            {optionName(option)}
          </button>
        ))}
      </fieldset>
    )
  }
  return (
    <label class="choice">
      <span class="slider-name">{name}</span>
      <select
        aria-label={`${nameText(device)}: ${name}`}
        value={current ? String(options.indexOf(current)) : ''}
        onChange={event => {
          const option = options[Number(event.currentTarget.value)]
          if (option) choose(option)
        }}
      >
        {current ? null : (
          <option value="">{value === undefined ? say('control.choose') : nameText(String(value))}</option>
        )}
        {options.map((option, i) => (
          <option value={String(i)}>{optionName(option)}</option>
        ))}
      </select>
    </label>
  )
}
