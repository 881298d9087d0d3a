import { hubNow } from '../api.js'
import { say } from '../texts/language.js'
import type { HomeDevice } from './catalogue.js'
import { ageText, spanText } from './format.js'
import type { Live } from './live.js'
import { Painted, setData, write } from './painted.js'

interface StatusProperties {
  readonly live: Live
  readonly device: HomeDevice
}

/** Whether a device is there, and when last heard of. Written once a second. */
export class Status extends Painted<StatusProperties> {
  protected override watch(paint: () => void): () => void {
    return this.props.live.eachSecond(paint)
  }

  protected override paint(host: HTMLElement): void {
    const { live, device } = this.props
    const heard = heardOf(live, device)
    const age = hubNow() - heard
    const state = device.online === false ? 'offline' : device.silent ? 'silent' : heard === 0 ? 'never' : 'online'
    setData(host, 'state', state)
    const since = heard === 0 ? '' : ` ${spanText(age)}`
    const words =
      state === 'online' ? ageText(age) : state === 'never' ? say('card.never') : `${say(`card.${state}`)}${since}`
    write(host.lastElementChild as HTMLElement, words)
  }

  override render() {
    return (
      <span class="thing-status" ref={this.hosted}>
        <span class="dot" aria-hidden="true" />
        <span />
      </span>
    )
  }
}

/** Returns when the hub last heard of a device; 0: never. */
export function heardOf(live: Live, device: HomeDevice): number {
  return Math.max(device.lastSeen, ...device.values.map(({ topic }) => live.heard(topic)))
}
