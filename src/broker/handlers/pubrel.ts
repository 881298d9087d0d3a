import type { PacketCodec } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import { packetType } from '../../mqtt/primitives.js'
import type { Session } from '../../sessions/sessions.js'
import { type Client, recordBytes, unknownPacketId } from '../client.js'

/** Handles PUBREL: releases the packet id of a QoS 2 publish, and sends PUBCOMP when the release is on disk. */
export function handlePubrel(client: Client, codec: PacketCodec, session: Session, framer: Framer): void {
  const packetId = codec.readAck(framer.header, framer.buffer, framer.start, framer.end)
  client.connection.begin(recordBytes)
  client.broker.sessions.release(session, packetId, (error, isKnown) => {
    client.connection.done(recordBytes)
    client.quota?.released(packetId)
    if (error) client.notAcknowledged(error)
    else client.writeFaultAck(packetType.pubcomp, packetId, isKnown ? undefined : unknownPacketId)
  })
}
