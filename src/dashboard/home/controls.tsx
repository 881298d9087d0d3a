import { useEffect, useState } from 'preact/hooks'
import type { Value } from '../api.js'
import { say } from '../texts/language.js'
import { nameText } from '../wording.js'
import { type ControlOption, type HomeControl, keyOf } from './catalogue.js'
import { ask } from './confirm.js'
import { useModel } from './context.js'
import { nameOf, numberText, optionName } from './format.js'
import { isSame } from './orders.js'

interface ControlProperties {
  readonly control: HomeControl
  /** Name of the device, for the question before a dangerous command. */
  readonly device: string
}

/** Returns the newest value of the state that a control sets, and draws the component again when that changes. */
function useNow(control: HomeControl): Value | undefined {
  const { live } = useModel()
  const key = control.state ? keyOf(control.state) : ''
  const [value, setValue] = useState<Value | undefined>(live.of(key)?.value)
  useEffect(() => {
    if (key === '') return
    const look = () => setValue(live.of(key)?.value)
    look()
    return live.watch(key, look)
  }, [key])
  return value
}

/** Returns how to send an option, after a question if the control is dangerous. */
function useSend({ control, device }: ControlProperties) {
  const { orders } = useModel()
  return async (payload: string, wanted: Value | undefined, action: string) => {
    if (control.dangerous && !(await ask(action, device))) return
    await orders.send(control, payload, wanted)
  }
}

/** The option that the state means; undefined while that is not known. */
function currentOf(options: readonly ControlOption[], value: Value | undefined): ControlOption | undefined {
  if (value === undefined) return undefined
  return options.find(option => isSame(option.value ?? option.payload, value))
}

/** On and off. While the state is not known, or not seen yet, neither is claimed. */
export function Switch({ control, device }: ControlProperties) {
  const value = useNow(control)
  const send = useSend({ control, device })
  const { orders } = useModel()
  const [on, off] = control.options ?? []
  if (!on || !off) return null
  const isOn = currentOf([on, off], value) === on
  const order = orders.of(control)
  const isWaiting = order !== undefined && order.seenAt === undefined && order.row?.over !== true && !order.failure
  const next = isOn ? off : on
  const label = `${nameText(device)}: ${nameOf(control)}`
  return (
    <button
      type="button"
      role="switch"
      class="switch"
      aria-checked={isOn}
      aria-label={label}
      data-waiting={isWaiting}
      data-known={value !== undefined}
      onClick={() => void send(next.payload, next.value, optionName(next))}
    >
      <span class="switch-knob" />
    </button>
  )
}

function Slider({ control, device }: ControlProperties) {
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

function Choice({ control, device }: ControlProperties) {
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

function Press({ control, device }: ControlProperties) {
  const send = useSend({ control, device })
  const [option] = control.options ?? []
  if (!option) return null
  const name = nameOf(control)
  return (
    <button
      type="button"
      class="plain"
      aria-label={`${nameText(device)}: ${name}`}
      onClick={() => void send(option.payload, option.value, name)}
    >
      {name}
    </button>
  )
}

/** A control of any kind. */
export function Control(properties: ControlProperties) {
  const { kind } = properties.control
  if (kind === 'slider') return <Slider {...properties} />
  if (kind === 'choice') return <Choice {...properties} />
  if (kind === 'button') return <Press {...properties} />
  return (
    <span class="named-switch">
      <span class="slider-name">{nameOf(properties.control)}</span>
      <Switch {...properties} />
    </span>
  )
}
