import { type HomeDevice, haystackOf } from './catalogue.js'

/** Readies devices for the search while the page has nothing else to do: the first key has no time for thousands. */
export function readyToFind(devices: readonly HomeDevice[], from = 0): void {
  const go = (deadline: IdleDeadline) => {
    let next = from
    while (next < devices.length && deadline.timeRemaining() > 1) haystackOf(devices[next++] as HomeDevice)
    if (next < devices.length) readyToFind(devices, next)
  }
  // Safari has no such call, and readies a device when it is looked for.
  if ('requestIdleCallback' in globalThis) requestIdleCallback(go)
}
