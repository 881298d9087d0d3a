import type { PacketCodec } from '../mqtt/codec.js'
import type { Framer } from '../mqtt/framer.js'
import { isServerPacket, MalformedPacket, packetType, protocolError } from '../mqtt/primitives.js'
import type { Fault } from '../mqtt/reason-codes.js'
import type { Session } from '../sessions/sessions.js'
import type { Connection, PacketHandler } from '../transport/connections.js'
import type { BrokerParts } from './broker-parts.js'
import { Client } from './client.js'
import { handlePuback, handlePubcomp, handlePubrec } from './handlers/acknowledge.js'
import { handleAuth, handleEarlyAuth } from './handlers/authenticate.js'
import { handleConnect } from './handlers/connect.js'
import { handleDisconnect, handleEarlyDisconnect } from './handlers/disconnect.js'
import { handlePingreq } from './handlers/ping.js'
import { handlePublish } from './handlers/publish.js'
import { handlePubrel } from './handlers/pubrel.js'
import { handleSubscribe } from './handlers/subscribe.js'
import { handleUnsubscribe } from './handlers/unsubscribe.js'

/** Hands each packet of one client to the handler of the packet's type. */
export class PacketDispatcher implements PacketHandler {
  readonly #client: Client

  constructor(connection: Connection, broker: BrokerParts) {
    this.#client = new Client(connection, broker)
  }

  packet(framer: Framer): void {
    const { codec, session } = this.#client
    const type = framer.header >> 4
    if (codec && session) {
      if (type === packetType.publish) handlePublish(this.#client, codec, session, framer)
      else this.#dispatch(codec, session, type, framer)
    } else if (codec) {
      if (type === packetType.disconnect) handleEarlyDisconnect(this.#client, codec, framer)
      else handleEarlyAuth(this.#client, codec, framer)
    } else if (type === packetType.connect) handleConnect(this.#client, framer)
    else throw new MalformedPacket('MQTT-3.1.0-1', `the first packet is of type ${type}, not CONNECT`)
  }

  #dispatch(codec: PacketCodec, session: Session, type: number, framer: Framer): void {
    const client = this.#client
    switch (type) {
      case packetType.puback:
        handlePuback(codec, session, framer)
        break
      case packetType.pubrec:
        handlePubrec(codec, session, framer)
        break
      case packetType.pubcomp:
        handlePubcomp(codec, session, framer)
        break
      case packetType.pubrel:
        handlePubrel(client, codec, session, framer)
        break
      case packetType.subscribe:
        handleSubscribe(client, codec, session, framer)
        break
      case packetType.unsubscribe:
        handleUnsubscribe(client, codec, session, framer)
        break
      case packetType.pingreq:
        handlePingreq(client, framer)
        break
      case packetType.disconnect:
        handleDisconnect(client, codec, session, framer)
        break
      case packetType.auth:
        handleAuth(client, codec, framer)
        break
      case packetType.connect:
        throw protocolError('MQTT-3.1.0-2', 'a second CONNECT')
      default:
        throw new MalformedPacket(
          'MQTT-2.2.1',
          isServerPacket(type) ? `a packet of type ${type}, which no client sends` : `a packet of type ${type}`,
        )
    }
  }

  writable(): void {
    this.#client.session?.pump()
    this.#client.histories?.wake()
  }

  disconnectPacket(fault: Fault): Buffer | undefined {
    return this.#client.disconnectPacket(fault)
  }

  tooLarge(sentence: string): boolean {
    if (!this.#client.session) return false
    const all = `${sentence} (limits.packet); its connection was closed`
    this.#client.broker.refusals.refusedPacket(this.#client, all)
    return true
  }

  closed(): void {
    this.#client.closed()
  }
}
