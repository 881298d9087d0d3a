import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { adminKeyPath } from '../auth/admin-key.js'
import { isLoopback } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import { type Call, type Flags, type FlagValues, usage } from './command.js'
import { HubClient } from './hub-client.js'

/** Flags of every command that asks a running hub. */
export const hubFlags = {
  url: { value: 'URL', help: 'address of the hub; default: host and http.port of the settings' },
  key: { value: 'KEY', help: "API key of an admin; default: TELEHUB_KEY, then the hub's own key in data.dir" },
  json: { help: 'print the answer as JSON' },
} as const satisfies Flags

type Place = Pick<Call<typeof hubFlags>, 'flags' | 'environmentKey'>

/** Returns the hub that a command asks. */
export function hubOf({ settings, ...place }: Place & Pick<Call, 'settings'>): HubClient {
  const { url, key } = hubAt(settings(), place)
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    throw usage(`--url: given ${JSON.stringify(url)}, allowed is an address such as http://127.0.0.1:8080`)
  }
  return new HubClient(url, key)
}

/** Returns the URL of the hub of these settings, unless a flag names another, and the key to send. */
export function hubAt(
  settings: Settings,
  {
    flags,
    environmentKey,
  }: { readonly flags: FlagValues<typeof hubFlags>; readonly environmentKey: string | undefined },
): { readonly url: string; readonly key: string | undefined } {
  const url = flags.url ?? callable(urlOf(settings))
  return { url, key: flags.key ?? (environmentKey || localKey(settings['data.dir'], url)) }
}

export function urlOf(settings: Settings): string {
  const host = settings.host.includes(':') ? `[${settings.host}]` : settings.host
  return `http${settings['tls.cert'] ? 's' : ''}://${host}:${settings['http.port']}`
}

/** Returns a URL to call: an address to listen on for all cannot be called, and no certificate is for one. */
function callable(url: string): string {
  const { hostname, protocol, port } = new URL(url)
  return hostname === '0.0.0.0' || hostname === '[::]' ? `${protocol}//localhost${port && `:${port}`}` : url
}

/**
 * Reads the key that a hub has written beside its data. Undefined when there is no key, or no right to read the file.
 * The key is sent to this machine only: another hub that received the key could use this hub.
 */
export function localKey(dir: string, url: string): string | undefined {
  if (!URL.canParse(url) || !isLocal(new URL(url).hostname.replace(/^\[|\]$/g, ''))) return undefined
  try {
    return readFileSync(adminKeyPath(dir), 'utf8').trim()
  } catch {
    return undefined
  }
}

/** Whether this host is this machine. */
function isLocal(host: string): boolean {
  if (isLoopback(host) || host === '0.0.0.0' || host === '::') return true
  return Object.values(networkInterfaces()).some(all => all?.some(({ address }) => address === host))
}
