import type { PublishMessage } from './messages.js'
import { backoff, type HubRequestError, isTemporary, type Requests } from './requests.js'

/** Place of a published message in the spool of the hub. */
export interface Published {
  readonly sequence: number
}

export interface PublishOptions {
  /** How long to try, in milliseconds; 60,000 by default. */
  readonly timeoutMs?: number
  /**
   * Name of the request, by which the hub publishes its messages once. Default: a random one. Given by who wants to
   * repeat the request later, for instance after a restart.
   */
  readonly idempotencyKey?: string
}

/** Longest wait for one answer: a connection that a sleeping machine has lost may never tell. */
const attemptMs = 20_000

/**
 * Publishes messages, and tries again while the hub cannot be reached. Resolves with their places when all are on disk.
 * Within 24 hours the hub publishes a request with the same key once.
 */
export async function publish(
  requests: Requests,
  messages: readonly PublishMessage[],
  { timeoutMs = 60_000, idempotencyKey = randomKey() }: PublishOptions = {},
): Promise<readonly Published[]> {
  const body = JSON.stringify({ messages: messages.map(encoded) })
  const headers = { 'content-type': 'application/json', 'idempotency-key': idempotencyKey }
  const deadline = performance.now() + timeoutMs
  for (let attempt = 0; ; attempt++) {
    const left = deadline - performance.now()
    try {
      const init = { method: 'POST', headers, body }
      const answer = await requests.json<{ messages: Published[] }>('/api/publish', init, Math.min(attemptMs, left))
      return answer.messages
    } catch (error) {
      if (!isTemporary(error)) throw error
      const { retryAfter = 0 } = error as HubRequestError & { readonly retryAfter?: number }
      const pause = Math.max(backoff(attempt), retryAfter * 1_000)
      if (performance.now() + pause >= deadline) throw error
      await new Promise(resolve => setTimeout(resolve, pause))
    }
  }
}

function encoded(message: PublishMessage): object {
  const { payload } = message
  if (!(payload instanceof Uint8Array)) return message
  let binary = ''
  for (const byte of payload) binary += String.fromCharCode(byte)
  return { ...message, payload: btoa(binary), encoding: 'base64' }
}

/** `crypto.randomUUID` exists in secure contexts alone, and a hub at home may have no certificate. */
function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('')
}
