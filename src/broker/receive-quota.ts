import type { QoS } from '../model.js'
import { protocolError } from '../mqtt/primitives.js'
import { reasonCode } from '../mqtt/reason-codes.js'

/**
 * What a client of MQTT 5 has published on this connection and is not done with: QoS 1 without their PUBACK, QoS 2
 * without their PUBCOMP. It has been told how many they may be. (§4.9)
 */
export class ReceiveQuota {
  readonly #maximum: number
  #unacknowledged = 0
  #unreleased: Set<number> | undefined

  constructor(maximum: number) {
    this.#maximum = maximum
  }

  /**
   * A publish of QoS 1 or 2 came.
   * @throws MalformedPacket when it is one too many [MQTT-3.3.4-7]
   */
  take(qos: QoS, packetId: number): void {
    if (qos === 2) {
      this.#unreleased ??= new Set()
      this.#unreleased.add(packetId)
    } else this.#unacknowledged++
    if (this.#unacknowledged + (this.#unreleased?.size ?? 0) <= this.#maximum) return
    const message = `more than ${this.#maximum} publishes without an acknowledgement`
    throw protocolError('MQTT-3.3.4-7', message, reasonCode.receiveMaximumExceeded)
  }

  /** PUBACK or PUBREC is sent; with a code that refuses nothing follows it. */
  acknowledged(qos: QoS, packetId: number, isRefused: boolean): void {
    if (qos === 1) this.#unacknowledged--
    else if (isRefused) this.#unreleased?.delete(packetId)
  }

  /** PUBREL came. */
  released(packetId: number): void {
    this.#unreleased?.delete(packetId)
  }
}
