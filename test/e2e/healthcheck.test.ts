import { once } from 'node:events'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { runCli, startHub } from '../harness.js'
import { freePort, tempDir } from '../services/service.js'

const pem = (name: string) => fileURLToPath(new URL(`../../../test/fixtures/tls/${name}`, import.meta.url))

/** As a container asks: by the settings of the environment. */
async function healthcheck(environment: Readonly<Record<string, string>>) {
  const run = runCli(['healthcheck'], environment, await tempDir())
  return { code: await run.exited, said: run.stdout() + run.stderr() }
}

t.test('the health check follows port, host and TLS of the settings', async t => {
  const port = String(await freePort())
  const environment = { TELEHUB_HTTP_PORT: port, TELEHUB_HOST: '0.0.0.0', TELEHUB_AUTH_ANONYMOUS: 'true' }
  const gone = await healthcheck(environment)
  t.equal(gone.code, 1)
  t.match(gone.said, `telehub: no hub answers at http://127.0.0.1:${port}/healthz (connect ECONNREFUSED`)
  const tls = { TELEHUB_TLS_CERT: pem('server.pem'), TELEHUB_TLS_KEY: pem('server.key') }
  for (const more of [{}, tls]) {
    const all = { ...environment, ...more }
    const flags = { host: '0.0.0.0', 'auth.anonymous': 'true', 'http.port': port }
    const isTls = 'TELEHUB_TLS_CERT' in more
    const hub = await startHub(t, {
      ...flags,
      ...(isTls && { 'tls.cert': pem('server.pem'), 'tls.key': pem('server.key') }),
    })
    t.same(await healthcheck(all), {
      code: 0,
      said: `http${isTls ? 's' : ''}://127.0.0.1:${port}/healthz is healthy\n`,
    })
    t.equal((await healthcheck({ ...environment, ...(isTls ? {} : tls) })).code, 1, 'the other protocol')
    t.equal(await hub.stop(), 0)
  }
})

t.test('an answer that is not that of a hub that serves is not healthy', async t => {
  const server = createServer((_request, response) => response.writeHead(503).end())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const answered = await healthcheck({ TELEHUB_HTTP_PORT: String(port) })
  t.equal(answered.code, 1)
  t.match(answered.said, 'answers with status 503')
  const any = await healthcheck({ TELEHUB_HTTP_PORT: '0' })
  t.equal(any.code, 2)
  t.match(any.said, 'http.port: given 0')
  t.equal(await runCli(['healthcheck', 'x']).exited, 2, 'it takes no arguments')
})
