import { get, type IncomingHttpHeaders } from 'node:http'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { codingFor } from '../../src/http/compression.js'
import { startGuarded } from './guarded.js'

/** Asks as a browser does that takes these codings, without decoding the answer. */
const ask = (url: string, headers: Readonly<Record<string, string>>) =>
  new Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer }>(
    (resolve, reject) => {
      const request = get(url, { headers }, async response => {
        const chunks: Buffer[] = []
        for await (const chunk of response) chunks.push(chunk as Buffer)
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) })
      })
      request.on('error', reject)
    },
  )

const decoders: Readonly<Record<string, (body: Buffer) => Buffer>> = { br: brotliDecompressSync, gzip: gunzipSync }

t.test('the coding is one that the caller takes', async t => {
  const cases: readonly (readonly [accepted: string | undefined, coding: string | undefined])[] = [
    ['gzip, deflate, br, zstd', 'br'],
    ['gzip, deflate', 'gzip'],
    ['br;q=0, gzip;q=0.5', 'gzip'],
    ['BR', 'br'],
    ['gzip;q=0, *', undefined],
    ['*', 'gzip'],
    ['identity', undefined],
    ['gzip;q=0.000', undefined],
    ['xbr, gzipped', undefined],
    ['', undefined],
    [undefined, undefined],
  ]
  for (const [accepted, coding] of cases) t.equal(codingFor(accepted), coding, String(accepted))
})

t.test('answers of the API are compressed, if large and if the caller takes that', async t => {
  const hub = await startGuarded(t)
  const authorization = `Bearer ${hub.adminKey}`
  const url = `${hub.url}/api/openapi.json`
  const plain = await ask(url, { authorization })
  t.equal(plain.headers['content-encoding'], undefined)
  t.equal(plain.headers.vary, 'Accept-Encoding')
  for (const [coding, decode] of Object.entries(decoders)) {
    const { headers, body } = await ask(url, { authorization, 'accept-encoding': coding })
    t.match(headers, { 'content-encoding': coding, vary: 'Accept-Encoding', 'content-length': `${body.length}` })
    t.ok(body.length < plain.body.length / 4, `${body.length} of ${plain.body.length} bytes`)
    t.ok(decode(body).equals(plain.body), 'the same')
  }
  const all = await Promise.all(
    Array.from({ length: 20 }, () => ask(url, { authorization, 'accept-encoding': 'gzip' })),
  )
  for (const { headers, body } of all) {
    t.ok((headers['content-encoding'] ? gunzipSync(body) : body).equals(plain.body), 'many at a time')
  }
  t.ok(all.some(({ headers }) => headers['content-encoding']))
  const small = await ask(`${hub.url}/api/series`, { authorization, 'accept-encoding': 'br' })
  t.match(
    [small.headers['content-encoding'], small.headers.vary, String(small.body)],
    [undefined, undefined, '{"series":[]}'],
  )
  const stream = await hub.post('/api/dead/drop', { all: true }, { authorization, 'accept-encoding': 'br, gzip' })
  t.equal(stream.headers.get('content-encoding'), null, 'a stream goes on, line by line')
  const head = await fetch(url, { method: 'HEAD', headers: { authorization, 'accept-encoding': 'br' } })
  t.match([head.status, head.headers.get('content-encoding')], [200, null])

  const shared = await startGuarded(t, { origins: ['https://app.example'] })
  const { headers } = await ask(`${shared.url}/api/openapi.json`, { authorization: `Bearer ${shared.adminKey}` })
  t.equal(headers.vary, 'Origin, Accept-Encoding')
})

t.test('files have addresses that name their content, and are kept for a year', async t => {
  const hub = await startGuarded(t)
  const cookie = await hub.signIn('root', 'sesame-root')
  const page = await ask(`${hub.url}/`, { cookie, 'accept-encoding': 'br' })
  t.equal(page.headers['cache-control'], 'no-store')
  const html = brotliDecompressSync(page.body).toString()
  const addresses = [...html.matchAll(/"(\/[\w./-]+\.(?:js|css))"/g)].map(([, address = '']) => address)
  t.ok(addresses.length > 10, `${addresses.length} files`)
  for (const address of addresses) {
    t.match(address, /^\/(assets\/[0-9a-f]{16}\/[\w-]+)\.(js|css)$/)
    const plain = await ask(hub.url + address, { cookie })
    t.match(plain, { status: 200, headers: { 'cache-control': 'public, max-age=31536000, immutable' } }, address)
    t.equal(plain.headers['x-content-type-options'], 'nosniff')
    t.notOk(plain.headers['content-security-policy'] ?? plain.headers['permissions-policy'], 'none of a page')
    t.match(plain.headers['content-type'], address.endsWith('.js') ? /^text\/javascript/ : /^text\/css/)
    for (const [coding, decode] of Object.entries(decoders)) {
      const { headers, body } = await ask(hub.url + address, { cookie, 'accept-encoding': coding })
      t.match(headers, { 'content-encoding': coding, vary: 'Accept-Encoding' })
      t.ok(decode(body).equals(plain.body), `${coding} of ${address}`)
    }
  }
  const version = /\/assets\/([0-9a-f]{16})\/main\.js/.exec(html)?.[1]
  for (const address of [
    '/main.js',
    '/assets/0123456789abcdef/main.js',
    '/vendor/swagger-ui.js',
    '/vendor/swagger-ui-0123456789abcdef.js',
  ]) {
    const { status, headers } = await ask(hub.url + address, { cookie })
    t.match({ status, headers }, { status: 200, headers: { 'cache-control': 'no-cache' } }, `${address} may change`)
    const again = await ask(hub.url + address, { cookie, 'if-none-match': String(headers.etag) })
    t.match([again.status, again.body.length], [304, 0])
  }
  for (const address of [
    `/assets/${version}/nothing.js`,
    '/nothing.js',
    '/vendor/nothing.js',
    '/vendor/toString',
    '/__proto__',
  ]) {
    t.equal((await ask(hub.url + address, { cookie })).status, 404, address)
  }
  t.equal((await ask(`${hub.url}/assets/${version}/main.js`, {})).status, 401, 'not for strangers')
  t.equal((await ask(`${hub.url}/assets/${version}/login.js`, {})).status, 200, 'but the sign-in page')
})
