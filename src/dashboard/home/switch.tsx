import { nameText } from '../wording.js'
import { useModel } from './context.js'
import { type ControlProperties, currentOf, useNow, useSend } from './control-state.js'
import { nameOf, optionName } from './format.js'

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
