import { type Agent, type IncomingMessage, type RequestOptions, request as requestPlain } from 'node:http'
import { request as requestOverTls } from 'node:https'
import type { LookupFunction } from 'node:net'
import { systemCode } from '../errors.js'

export interface HttpCall {
  readonly url: URL
  readonly method: string
  readonly headers: Readonly<Record<string, string | number>>
  readonly body: Buffer
  readonly signal: AbortSignal
  /** Resolves names. Without: as usual. */
  readonly lookup?: LookupFunction
  /** Keeps connections for later calls. Without: each call has a connection of its own. */
  readonly agent?: Agent
}

export interface CallAnswer {
  readonly status: number
  /** Beginning of the answer. */
  readonly text: string
  /** Pause that the server asks for. */
  readonly retryAfterMs?: number
}

/** Bytes of an answer that are read. The connection is closed on a server that sends more. */
const maxAnswer = 16_384

/**
 * Sends one request, and resolves with the answer. Follows no redirect, and reads the beginning of an answer only. Rejects
 * when the signal aborts, or the connection ends, before an answer has begun.
 */
export async function call(asked: HttpCall): Promise<CallAnswer> {
  try {
    return await send(asked)
  } catch (error) {
    // The server closed a kept connection at the moment of the next use.
    if (!asked.agent || !(error instanceof StaleConnection)) throw error
    const { agent: _, ...fresh } = asked
    return send(fresh)
  }
}

/** A kept connection that the server had closed. */
class StaleConnection extends Error {}

function send({ url, method, headers, body, signal, lookup, agent }: HttpCall): Promise<CallAnswer> {
  const options: RequestOptions = {
    method,
    headers: { 'user-agent': 'telehub', ...headers, 'content-length': body.length },
    agent: agent ?? false,
    signal,
    ...(lookup && { lookup }),
  }
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? requestOverTls : requestPlain
    let hasAnswer = false
    const sent = request(url, options, response => {
      hasAnswer = true
      void readStart(response).then(({ text, isWhole }) => {
        resolve({ status: response.statusCode ?? 0, text, ...pauseAsked(response.headers['retry-after']) })
        if (!agent || !isWhole) sent.destroy()
      })
    })
    sent.on('error', error => {
      const isStale = sent.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '')
      reject(isStale ? new StaleConnection(error.message) : error)
    })
    // After a status of 101, which nobody has asked for, there is no other event.
    sent.on('close', () => {
      signal.removeEventListener('abort', given)
      if (!hasAnswer) reject(new Error('the connection was closed without an answer'))
    })
    const given = () => {
      if (!hasAnswer) reject(signal.reason)
    }
    signal.addEventListener('abort', given, { once: true })
    sent.end(body)
  })
}

/** Returns the pause of `Retry-After`: seconds, or a date. Less than a day is believed. */
function pauseAsked(header: string | undefined): Pick<CallAnswer, 'retryAfterMs'> {
  if (!header) return {}
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now()
  return ms > 0 && ms < 86_400_000 ? { retryAfterMs: ms } : {}
}

/** Resolves with the beginning of an answer, also when the connection breaks. */
function readStart(response: IncomingMessage): Promise<{ readonly text: string; readonly isWhole: boolean }> {
  return new Promise(resolve => {
    const parts: Buffer[] = []
    let bytes = 0
    const end = () =>
      resolve({ text: Buffer.concat(parts).subarray(0, maxAnswer).toString(), isWhole: response.complete })
    response.on('data', (part: Buffer) => {
      parts.push(part)
      bytes += part.length
      if (bytes >= maxAnswer) end()
    })
    for (const event of ['end', 'error', 'close']) response.on(event, end)
  })
}
