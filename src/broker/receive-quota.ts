import type { QoS } from '../model.js'
import { protocolError } from '../mqtt/primitives.js'
import { reasonCode } from '../mqtt/reason-codes.js'

/**
 * Publishes of an MQTT 5 client on this connection that are not complete: QoS 1 without PUBACK, QoS 2 without PUBCOMP.
 * CONNACK has announced how many are allowed. (§4.9)
 */
export class ReceiveQuota {
  readonly #maximum: number
  #unacknowledged = 0
  #unreleased: Set<number> | undefined

  constructor(maximum: number) {
    this.#maximum = maximum
  }

  /**
   * Counts a publish of QoS 1 or 2 that has come.
   * @throws MalformedPacket when that is one too many [MQTT-3.3.4-7]
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

  /** Called when PUBACK or PUBREC is sent; after a code that refuses nothing follows. */
  acknowledged(qos: QoS, packetId: number, isRefused: boolean): void {
    if (qos === 1) this.#unacknowledged--
    else if (isRefused) this.#unreleased?.delete(packetId)
  }

  /** Called when PUBREL has come. */
  released(packetId: number): void {
    this.#unreleased?.delete(packetId)
  }
}
