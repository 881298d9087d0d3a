import { networkInterfaces } from 'node:os'
import { isLoopback } from '../config/config.js'
import { inUrl } from '../runtime/addresses.js'

/** The address on which the HTTP server listens. */
export interface Site {
  /** The setting `host`. */
  readonly host: string
  readonly url: () => string
}

/**
 * Returns the URLs of the HTTP server on the networks of its machine, IPv4 first, for devices that are to reach it. None
 * when it listens for this machine alone.
 */
export function ownUrls({ host, url: urlOf }: Site): string[] {
  if (isLoopback(host)) return []
  const url = urlOf()
  if (host !== '0.0.0.0' && host !== '::') return [url]
  const { protocol, port } = new URL(url)
  const all = Object.values(networkInterfaces()).flatMap(one => one ?? [])
  return all
    .filter(({ internal, scopeid, family }) => !internal && !scopeid && (family === 'IPv4' || host === '::'))
    .sort((one, other) => one.family.localeCompare(other.family))
    .map(({ address }) => `${protocol}//${inUrl(address)}:${port}`)
}

/**
 * Returns the addresses of MQTT listeners under the host name by which a caller reaches the hub, which the listener may
 * not have in its own.
 */
export function mqttUrls(hostHeader: string | undefined, listeners: readonly (string | undefined)[]): string[] {
  const base = `http://${hostHeader ?? ''}`
  const name = URL.canParse(base) ? new URL(base).hostname : undefined
  return listeners
    .filter(url => url !== undefined)
    .map(url => (name === undefined ? url : url.replace(/^(\w+:\/\/).*(:\d+)$/, `$1${name}$2`)))
}
