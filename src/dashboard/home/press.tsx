import { nameText } from '../wording.js'
import { type ControlProperties, useSend } from './control-state.js'
import { nameOf } from './format.js'

/** A button without a state. */
export function Press({ control, device }: ControlProperties) {
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
