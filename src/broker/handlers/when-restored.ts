import type { Session } from '../../sessions/sessions.js'
import type { Client } from '../client.js'

/**
 * Does what needs everything restored: at once, or when that is so. Until then nothing more of the client is read, as
 * later packets would overtake this one.
 */
export function whenRestored(client: Client, session: Session, act: () => void): void {
  const { broker, connection } = client
  if (broker.restoration.isOver) {
    act()
    return
  }
  connection.waitForHub()
  broker.restoration.afterwards(() => {
    connection.goOn()
    if (client.session !== session) return
    try {
      act()
    } catch (error) {
      connection.failed(error)
    }
  })
}
