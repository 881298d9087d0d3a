import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Settings } from '../config/settings.js'
import { describe, HubError } from '../errors.js'
import { type Command, command } from './command.js'

export const healthcheckCommand: Command = command({
  name: 'healthcheck',
  summary: 'ask the hub of these settings on this machine whether it serves; for containers and supervisors',
  examples: ['telehub healthcheck --http.port 8080'],
  run: async ({ settings, terminal }) => {
    terminal.out(`${await checkHealth(settings())} is healthy\n`)
    return 0
  },
})

/** Time limit of a check. A container is checked every few seconds, and a later answer counts as none. */
const timeoutMs = 4_000

/**
 * Requests `/healthz` of the hub that runs with the same settings on this machine: the host, `http.port`, and HTTPS
 * when there is a `tls.cert`. Resolves with the address that answered. Rejects with a `HubError` that names the request
 * and the answer.
 */
async function checkHealth(settings: Settings): Promise<string> {
  const port = settings['http.port']
  if (port === 0) {
    throw new HubError('bad_settings', 'http.port: given 0 (any free port), so the port is not known; set a port')
  }
  const isTls = settings['tls.cert'] !== ''
  const host = reachableHost(settings.host)
  const url = `http${isTls ? 's' : ''}://${host.includes(':') ? `[${host}]` : host}:${port}/healthz`
  let status: number | undefined
  try {
    status = await statusOf(url, isTls)
  } catch (error) {
    throw new HubError('not_found', `no hub answers at ${url} (${describe(error)})`)
  }
  if (status === 200) return url
  throw new HubError('not_found', `${url} answers with status ${status}, and a hub that serves answers with 200`)
}

/** Returns a host to connect to: the wildcard address for listening on all addresses cannot be used. */
function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}

function statusOf(url: string, isTls: boolean): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const ask = isTls ? httpsRequest : httpRequest
    // The certificate is for the name that clients use, not for this address. Nothing secret is sent.
    const request = ask(url, { rejectUnauthorized: false, agent: false, timeout: timeoutMs }, answer => {
      answer.resume()
      resolve(answer.statusCode)
    })
    request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs / 1e3} seconds`)))
    request.on('error', reject)
    request.end()
  })
}
