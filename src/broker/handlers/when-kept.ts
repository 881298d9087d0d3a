import type { Session } from '../../sessions/sessions.js'
import { type Client, recordBytes } from '../client.js'

/** Answers a client once a change of the session is on disk, if the session outlives the connection; else at once. */
export function whenKept(client: Client, session: Session, answer: () => void): void {
  if (!session.durable) {
    answer()
    return
  }
  client.connection.begin(recordBytes)
  client.broker.sessions.flush().then(
    () => {
      client.connection.done(recordBytes)
      if (session.attached) answer()
    },
    error => client.notAcknowledged(error),
  )
}
