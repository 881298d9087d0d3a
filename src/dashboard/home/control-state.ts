import { useEffect, useState } from 'preact/hooks'
import type { Value } from '../api.js'
import { type ControlOption, type HomeControl, keyOf } from './catalogue.js'
import { ask } from './confirm.js'
import { useModel } from './context.js'
import { isSame } from './orders.js'

export interface ControlProperties {
  readonly control: HomeControl
  /** Name of the device, for the question before a dangerous command. */
  readonly device: string
}

/** Returns the newest value of the state that a control sets, and draws the component again when that changes. */
export function useNow(control: HomeControl): Value | undefined {
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
export function useSend({ control, device }: ControlProperties) {
  const { orders } = useModel()
  return async (payload: string, wanted: Value | undefined, action: string) => {
    if (control.dangerous && !(await ask(action, device))) return
    await orders.send(control, payload, wanted)
  }
}

/** The option that the state means; undefined while that is not known. */
export function currentOf(options: readonly ControlOption[], value: Value | undefined): ControlOption | undefined {
  if (value === undefined) return undefined
  return options.find(option => isSame(option.value ?? option.payload, value))
}
