import { useEffect, useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import { type ControlProperties, useNow, useSend } from './control-state.js'
import { nameOf, numberText } from './format.js'

/** A number to set. A slider that is held shows the number under the hand. */
export function Slider({ control, device }: ControlProperties) {
  const value = useNow(control)
  const send = useSend({ control, device })
  const { range, payload = '{value}' } = control
  const [held, setHeld] = useState<number | undefined>()
  // The value of the device counts again as soon as another one comes.
  useEffect(() => setHeld(undefined), [value])
  if (!range) return null
  const { min, max, step, unit = '' } = range
  const shown = held ?? (typeof value === 'number' ? value : min)
  const decimals = String(step).split('.')[1]?.length ?? 0
  const text = held === undefined && typeof value !== 'number' ? '–' : `${numberText(shown, decimals)} ${unit}`.trim()
  const name = nameOf(control)
  return (
    <label class="slider">
      <span class="slider-name">{name}</span>
      <input
        type="range"
        min={min}
        max={max}
        step={step}
        value={shown}
        aria-label={`${nameText(device)}: ${name}`}
        aria-valuetext={text}
        onInput={event => setHeld(Number(event.currentTarget.value))}
        onChange={event => {
          const wanted = Number(event.currentTarget.value)
          void send(
            payload.replace('{value}', String(wanted)),
            wanted,
            `${name} ${numberText(wanted, decimals)} ${unit}`,
          )
        }}
      />
      <output class="slider-value">{text}</output>
    </label>
  )
}
