import { type HomeDevice, haystackOf } from './catalogue.js'

/**
 * Returns the devices, and makes the texts that the search looks through while the page has nothing else to do: the first
 * key has no time for thousands.
 */
export function readied<Devices extends readonly HomeDevice[]>(devices: Devices): Devices {
  // Safari has no such call, and makes the text of a device when it is looked for.
  if ('requestIdleCallback' in globalThis) readyFrom(devices, 0)
  return devices
}

function readyFrom(devices: readonly HomeDevice[], from: number): void {
  requestIdleCallback(deadline => {
    let next = from
    while (next < devices.length && deadline.timeRemaining() > 1) haystackOf(devices[next++] as HomeDevice)
    if (next < devices.length) readyFrom(devices, next)
  })
}
