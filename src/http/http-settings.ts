import type { Settings } from '../config/settings.js'
import { connectionRoom } from '../runtime/open-files.js'
import type { HttpOptions } from './server.js'

export function httpSettings(settings: Settings) {
  return {
    host: settings.host,
    port: settings['http.port'],
    hstsMs: settings['tls.hsts'],
    anonymous: settings['auth.anonymous'],
    proxies: settings['proxy.trusted'],
    connections: connectionRoom(settings).http,
    perAddress: settings['http.address'],
    packetBytes: settings['limits.packet'],
    frames: settings['http.frames'],
    origins: settings['ws.origins'],
  } satisfies Partial<HttpOptions>
}
