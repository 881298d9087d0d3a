import { isUtf8 } from 'node:buffer'
import type { Message } from '../model.js'
import { describeMessage } from '../mqtt/message-row.js'

/**
 * Returns a message as JSON: `payload` is the value when the payload is JSON, digit for digit as sent; else the
 * text; else base64. `encoding` says which.
 */
export function messageJson(message: Message, hubId: string): string {
  const { topic, payload, hub = hubId } = message
  const { sequence, ...row } = describeMessage(message)
  const head = JSON.stringify({ id: `${hub}-${sequence}`, sequence, topic, ...row })
  return `${head.slice(0, -1)},${payloadJson(payload)}}`
}

function payloadJson(payload: Buffer): string {
  if (!isUtf8(payload)) return `"encoding":"base64","payload":"${payload.toString('base64')}"`
  const text = payload.toString()
  if (isJson(text)) return `"encoding":"json","payload":${text}`
  return `"encoding":"text","payload":${JSON.stringify(text)}`
}

function isJson(text: string): boolean {
  // The first character rules most texts out. A lone number or word may be JSON, too.
  if (!/^[\s{["\-\dtfn]/.test(text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
