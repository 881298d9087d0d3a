import type { Framer } from '../../mqtt/framer.js'
import { checkEmpty, pingresp } from '../../mqtt/v3.js'
import type { Client } from '../client.js'

/** Handles PINGREQ: sends PINGRESP. */
export function handlePingreq(client: Client, { header, start, end }: Framer): void {
  checkEmpty(header, start, end)
  client.connection.write(pingresp)
}
