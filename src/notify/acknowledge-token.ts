import { createHmac, timingSafeEqual } from 'node:crypto'

/** Right to acknowledge some alerts, once they fire, until a time; and nothing else. */
export interface AcknowledgeRight {
  readonly alerts: readonly string[]
  /** Who acknowledges: a user, or the target that was notified. */
  readonly by: string
  /** Address in the outbox to which the right was sent: it ends with the target or the subscription. */
  readonly address: string
  /** Milliseconds since the epoch. */
  readonly expires: number
}

/** Part of what is signed, so that a signature for another purpose is none for this one. */
const purpose = 'telehub acknowledge 1'
const maxToken = 4_096

/** Returns the right as a text that only holders of the key can make. */
export function signRight(key: Buffer, { alerts, by, address, expires }: AcknowledgeRight): string {
  const body = Buffer.from(JSON.stringify([alerts, by, address, expires])).toString('base64url')
  return `${body}.${signature(key, body).toString('base64url')}`
}

/** Returns the right that a token gives. Undefined when the token is forged, damaged or expired. */
export function readRight(key: Buffer, token: string, now: number): AcknowledgeRight | undefined {
  const [body = '', given = '', ...rest] = token.length > maxToken ? [] : token.split('.')
  const mac = Buffer.from(given, 'base64url')
  const right = signature(key, body)
  if (rest.length > 0 || mac.length !== right.length || !timingSafeEqual(mac, right)) return undefined
  const [alerts, by, address, expires] = JSON.parse(Buffer.from(body, 'base64url').toString()) as [
    readonly string[],
    string,
    string,
    number,
  ]
  return now < expires ? { alerts, by, address, expires } : undefined
}

function signature(key: Buffer, body: string): Buffer {
  return createHmac('sha256', key).update(`${purpose}\n${body}`).digest()
}
