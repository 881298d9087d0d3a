import type { PacketCodec } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import { protocolError } from '../../mqtt/primitives.js'
import type { Session } from '../../sessions/sessions.js'

/* The client's acknowledgements of what the hub has sent. The session sends PUBREL, and the next messages. */

export function handlePuback(codec: PacketCodec, session: Session, framer: Framer): void {
  const packetId = readAck(codec, framer)
  check(session.acknowledge(packetId, isRefusal(codec)))
}

export function handlePubrec(codec: PacketCodec, session: Session, framer: Framer): void {
  const packetId = readAck(codec, framer)
  check(session.received(packetId, isRefusal(codec)))
}

export function handlePubcomp(codec: PacketCodec, session: Session, framer: Framer): void {
  check(session.complete(readAck(codec, framer)))
}

function readAck(codec: PacketCodec, { header, buffer, start, end }: Framer): number {
  return codec.readAck(header, buffer, start, end)
}

/** Returns whether the acknowledgement read last has a reason code with which the client refuses the message. */
function isRefusal(codec: PacketCodec): boolean {
  return codec.ackCode >= 0x80
}

function check(fault: string | undefined): void {
  if (fault) throw protocolError('MQTT-4.3', fault)
}
