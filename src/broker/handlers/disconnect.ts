import type { PacketCodec } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import { reasonCode } from '../../mqtt/reason-codes.js'
import type { Session } from '../../sessions/sessions.js'
import type { Client } from '../client.js'

/** Handles DISCONNECT: changes the session expiry if asked, and closes the connection, with or without the will. */
export function handleDisconnect(client: Client, codec: PacketCodec, session: Session, framer: Framer): void {
  const { header, buffer, start, end } = framer
  const { code, sessionExpiry } = codec.readDisconnect(header, buffer, start, end)
  if (sessionExpiry !== undefined) {
    client.broker.sessions.setExpiry(session, client.grantedExpiry(sessionExpiry))
  }
  client.isLeaving = true
  // [MQTT-3.14.4-3] With any other code the client's will is due.
  if (code === reasonCode.success) client.aedes?.goodbye()
  else client.connection.end()
}

/** Handles DISCONNECT of a client that is not connected yet. */
export function handleEarlyDisconnect(client: Client, codec: PacketCodec, framer: Framer): void {
  codec.readDisconnect(framer.header, framer.buffer, framer.start, framer.end)
  client.connection.end()
}
