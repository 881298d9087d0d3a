import { createDecipheriv, createECDH, createPublicKey, hkdfSync, randomBytes, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'

const file = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url))

/** File with the authority of the service's certificate, for NODE_EXTRA_CA_CERTS. */
export const pushAuthority = file('ca.pem')

/** A message as the browser of a subscription sees it. */
export interface Pushed {
  readonly browser: string
  readonly text: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Claims of the hub (RFC 8292). */
  readonly claims: { readonly aud: string; readonly exp: number; readonly sub: string }
}

export interface PushService {
  readonly url: string
  readonly pushed: readonly Pushed[]
  /** Requests that break a rule of RFC 8030, 8188, 8291 or 8292, with the reason. */
  readonly faults: readonly string[]
  /** What is answered instead of taking a message; undefined: it is taken. */
  answer: ((response: ServerResponse) => void) | undefined
  /** A browser of this service that subscribes for the key of a hub, as PushSubscription.toJSON() tells it. */
  subscribe(
    browser: string,
    publicKey: string,
  ): { readonly endpoint: string; readonly keys: { readonly p256dh: string; readonly auth: string } }
  stop(): Promise<void>
}

/**
 * A push service with browsers: takes messages over HTTPS, checks who sends them, and decrypts them with the keys of the
 * browser. Written from the RFCs with node:crypto alone, as the hub's side comes from a package.
 */
export async function startPushService(): Promise<PushService> {
  const browsers = new Map<string, { readonly ecdh: ReturnType<typeof createECDH>; auth: Buffer; key: string }>()
  const pushed: Pushed[] = []
  const faults: string[] = []
  const server = createServer({ key: readFileSync(file('server.key')), cert: readFileSync(file('server.pem')) })
  const service: PushService = {
    get url() {
      return `https://localhost:${(server.address() as AddressInfo).port}`
    },
    pushed,
    faults,
    answer: undefined,
    subscribe: (browser, key) => {
      const ecdh = createECDH('prime256v1')
      const auth = randomBytes(16)
      browsers.set(browser, { ecdh, auth, key })
      return {
        endpoint: `${service.url}/push/${browser}`,
        keys: { p256dh: ecdh.generateKeys('base64url'), auth: auth.toString('base64url') },
      }
    },
    stop: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  server.on('request', (request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      if (service.answer) return service.answer(response)
      try {
        const name = /^\/push\/(\w+)$/.exec(request.url ?? '')?.[1] ?? ''
        const browser = browsers.get(name)
        if (!browser) return void response.writeHead(410).end()
        const { method, headers } = request
        if (method !== 'POST') throw new Error(`method ${method}`)
        if (!/^\d+$/.test(String(headers.ttl))) throw new Error('no TTL (RFC 8030 §5.2)')
        if (!['very-low', 'low', 'normal', 'high'].includes(String(headers.urgency ?? 'normal')))
          throw new Error('urgency (RFC 8030 §5.3)')
        if (headers['content-encoding'] !== 'aes128gcm') throw new Error('encoding (RFC 8291 §4)')
        const claims = claimsOf(String(headers.authorization), browser.key, service.url)
        const text = decrypt(Buffer.concat(parts), browser.ecdh, browser.auth)
        pushed.push({ browser: name, text, headers, claims })
        response.writeHead(201, { location: `${service.url}/message/${pushed.length}` }).end()
      } catch (error) {
        faults.push((error as Error).message)
        response.writeHead(400).end((error as Error).message)
      }
    })
  })
  await new Promise<void>(resolve => server.listen(0, 'localhost', resolve))
  return service
}

/** Returns the claims of a token that the key of the subscription has signed (RFC 8292 §2, §3, §4.2). */
function claimsOf(authorization: string, key: string, origin: string): Pushed['claims'] {
  const [, head = '', body = '', signature = '', given = ''] =
    /^vapid t=([\w-]+)\.([\w-]+)\.([\w-]+), ?k=([\w-]+)$/.exec(authorization) ?? []
  if (given !== key) throw new Error('another key than that of the subscription (RFC 8292 §4.2)')
  const point = Buffer.from(key, 'base64url')
  const jwk = { kty: 'EC', crv: 'P-256', x: point.toString('base64url', 1, 33), y: point.toString('base64url', 33, 65) }
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' })
  const parse = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
  if (parse(head).alg !== 'ES256') throw new Error('not ES256')
  const isSigned = verify(
    'sha256',
    Buffer.from(`${head}.${body}`),
    { key: publicKey, dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  )
  if (!isSigned) throw new Error('the signature is wrong')
  const claims = parse(body) as Pushed['claims']
  const left = claims.exp - Date.now() / 1_000
  if (claims.aud !== origin || !(left > 0 && left <= 86_400)) throw new Error('aud or exp (RFC 8292 §2)')
  if (!/^(mailto:|https:)/.test(claims.sub)) throw new Error('sub (RFC 8292 §2.1)')
  return claims
}

/** Decrypts the one record of a message (RFC 8188 §2, RFC 8291 §3.4). */
function decrypt(body: Buffer, ecdh: ReturnType<typeof createECDH>, auth: Buffer): string {
  if (body.length > 4_096) throw new Error(`${body.length} bytes (RFC 8030 §7.2)`)
  const salt = body.subarray(0, 16)
  const idLength = body.readUInt8(20)
  const sender = body.subarray(21, 21 + idLength)
  const record = body.subarray(21 + idLength)
  const own = ecdh.getPublicKey()
  const expand = (secret: Buffer, using: Buffer, info: Buffer, length: number) =>
    Buffer.from(hkdfSync('sha256', secret, using, info, length))
  const keyInfo = Buffer.concat([Buffer.from('WebPush: info\0'), own, sender])
  const secret = expand(ecdh.computeSecret(sender), auth, keyInfo, 32)
  const key = expand(secret, salt, Buffer.from('Content-Encoding: aes128gcm\0'), 16)
  const nonce = expand(secret, salt, Buffer.from('Content-Encoding: nonce\0'), 12)
  const decipher = createDecipheriv('aes-128-gcm', key, nonce)
  decipher.setAuthTag(record.subarray(-16))
  const padded = Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()])
  const end = padded.lastIndexOf(2)
  if (end < 0 || padded.subarray(end + 1).some(byte => byte !== 0)) throw new Error('padding (RFC 8188 §2)')
  return padded.subarray(0, end).toString()
}
