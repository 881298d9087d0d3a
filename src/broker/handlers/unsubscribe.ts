import type { PacketCodec } from '../../mqtt/codec.js'
import type { Framer } from '../../mqtt/framer.js'
import type { Session } from '../../sessions/sessions.js'
import type { Client } from '../client.js'
import { whenKept } from './when-kept.js'

/** Handles UNSUBSCRIBE: ends the subscriptions of the session, and sends UNSUBACK when that is kept. */
export function handleUnsubscribe(client: Client, codec: PacketCodec, session: Session, framer: Framer): void {
  const { header, buffer, start, end } = framer
  const { packetId, filters } = codec.readUnsubscribe(header, buffer, start, end)
  for (const filter of filters) client.histories?.stop(filter)
  const answers = filters.map(filter => client.broker.sessions.unsubscribe(session, filter))
  whenKept(client, session, () => client.answer(codec.unsuback(packetId, answers)))
}
