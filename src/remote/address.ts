import { integer, type SettingFields } from '../config/settings.js'
import type { RemoteAddress } from './remote-broker.js'

/**
 * Reads how another MQTT broker is reached: `url`, `version`, `clientId`, and `ca`, `cert` and `key` for TLS. `shown` names
 * the broker without any secret.
 */
export function readAddress(fields: SettingFields): { readonly address: RemoteAddress; readonly shown: string } {
  const allowed = 'an address that begins with mqtt://, mqtts://, ws:// or wss://'
  const url = fields.secret('url', allowed, true)
  let shown = ''
  if (URL.canParse(url) && /^(?:mqtts?|wss?):$/.test(new URL(url).protocol) && new URL(url).hostname !== '') {
    const { protocol, host, username, password } = new URL(url)
    shown = `${protocol}//${host}`
    const { secrets } = fields.reading
    if (password !== '') secrets.add(password)
    try {
      decodeURIComponent(username)
      if (password !== '') secrets.add(decodeURIComponent(password))
    } catch {
      fields.fault('url', 'user and password must be percent-encoded (% is %25)')
    }
  } else if (url !== '') fields.fault('url', `not allowed, allowed is ${allowed}`)
  const address = {
    url,
    version: fields.value('version', integer(4, 5), 5) as 4 | 5,
    clientId: fields.text('clientId', 'a client id', /^[^\0]{1,200}$/, false),
    ca: file(fields, 'ca'),
    cert: file(fields, 'cert'),
    key: file(fields, 'key'),
  }
  if ((address.cert === '') !== (address.key === ''))
    fields.fault('cert', 'given one of cert and key without the other')
  return { address, shown }
}

function file(fields: SettingFields, name: string): string {
  return fields.text(name, 'a file in PEM', /^[^\0]+$/, false)
}
