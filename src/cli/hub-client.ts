import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import type { Answer, Asked, JobProgress, RouteName } from '../contract/contract.js'
import { describe, HubError } from '../errors.js'
import { plain } from '../observe/log.js'

export type JobName =
  | 'POST /api/dead/replay'
  | 'POST /api/dead/drop'
  | 'POST /api/spool/replay'
  | 'POST /api/mapping/diff'
  | 'POST /api/mapping/apply'
  | 'POST /api/mapping/apply/undo'

/** The HTTP API of a running hub. */
export class HubClient {
  readonly #url: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(url: string, key: string | undefined) {
    this.#url = url.replace(/\/$/, '')
    this.#headers = key ? { authorization: `Bearer ${key}` } : {}
  }

  /** Returns the URL of a path of the hub. */
  at(path: string): string {
    return `${this.#url}${path}`
  }

  async ask<Name extends RouteName>(name: Name, asked: Asked<Name>): Promise<Answer<Name>> {
    return (await (await this.#fetch(name, asked)).json()) as Answer<Name>
  }

  /** Runs a job of the hub, and yields the progress until the job or the connection ends. */
  async *job<Name extends JobName>(name: Name, asked: Asked<Name>): AsyncGenerator<JobProgress> {
    const { body } = await this.#fetch(name, asked)
    if (!body) return
    for await (const line of createInterface({ input: Readable.fromWeb(body) })) yield JSON.parse(line) as JobProgress
  }

  /** Follows a stream of Server-Sent Events, and yields each until the connection ends. */
  async *events<Name extends 'GET /api/live'>(
    name: Name,
    asked: Asked<Name>,
  ): AsyncGenerator<{ readonly event: string; readonly data: string }> {
    const { body } = await this.#fetch(name, asked)
    if (!body) return
    let event = ''
    let data = ''
    // Lines in the form of the HTML Living Standard, section 9.2, as the hub writes them.
    for await (const line of createInterface({ input: Readable.fromWeb(body) })) {
      if (line.startsWith('event: ')) event = line.slice(7)
      else if (line.startsWith('data: ')) data = line.slice(6)
      else if (line === '') {
        if (data !== '') yield { event, data }
        event = data = ''
      }
    }
  }

  /** Asks for a stream that is no JSON. Rejects as {@link ask} does. */
  download<Name extends 'GET /api/export'>(name: Name, asked: Asked<Name>): Promise<Response> {
    return this.#fetch(name, asked)
  }

  /** Sends what is asked as the body of a POST, otherwise in the query. */
  async #fetch(name: RouteName, asked: object): Promise<Response> {
    const [method = '', route = ''] = name.split(' ')
    const all = Object.entries(asked).filter(([, value]) => value !== undefined)
    const inPath = (key: string) => route.includes(`:${key}`)
    const path = route.replace(/:(\w+)/g, (_, key: string) => encodeURIComponent(String(Object.fromEntries(all)[key])))
    const given = all.filter(([key]) => !inPath(key))
    const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)] as [string, string]))
    const isPost = method === 'POST'
    const headers = { ...this.#headers, ...(isPost && { 'content-type': 'application/json' }) }
    let response: Response
    try {
      response = await fetch(this.at(`${path}${isPost || query.size === 0 ? '' : `?${query}`}`), {
        method,
        headers,
        ...(isPost && { body: JSON.stringify(Object.fromEntries(given)) }),
        // The key must not be sent to another server.
        redirect: 'manual',
      })
    } catch (error) {
      const cause = (error as { cause?: unknown }).cause ?? error
      throw new HubError(
        'not_found',
        `no hub answers at ${this.#url} (${describe(cause)}); start it, or give its address with --url`,
      )
    }
    const isHub = /json|event-stream|text\/csv|text\/plain|parquet/.test(response.headers.get('content-type') ?? '')
    if (!isHub) {
      throw new HubError(
        'not_found',
        `the server at ${this.#url} is not telehub; give the address of the hub with --url`,
      )
    }
    if (!response.ok) throw await this.#refusalOf(response)
    return response
  }

  async #refusalOf(response: Response): Promise<HubError> {
    const { message } = (await response.json().catch(() => ({}))) as { message?: string }
    const sentence = plain(message ?? response.statusText)
    if (response.status === 401) {
      const shown = this.#headers.authorization ? 'rejects the key' : 'needs a key'
      return new HubError(
        'unauthorized',
        `the hub at ${this.#url} ${shown}; run this as the user of the hub on its machine, with its data.dir, or give ` +
          "an admin's API key with --key or TELEHUB_KEY",
      )
    }
    if (response.status === 403) {
      return new HubError(
        'forbidden',
        `the hub at ${this.#url} refuses: ${sentence}; use the API key of another user with --key or TELEHUB_KEY`,
      )
    }
    return new HubError('bad_request', `the hub at ${this.#url} answers: ${sentence}`)
  }
}
