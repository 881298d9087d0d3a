import { Choice } from './choice.js'
import type { ControlProperties } from './control-state.js'
import { nameOf } from './format.js'
import { Press } from './press.js'
import { Slider } from './slider.js'
import { Switch } from './switch.js'

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
