import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { usersFile } from '../fixtures/users.js'
import { asAdmin, eventually, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

/** A page of another origin, with the hub in a frame if given. Resolves with its origin. */
async function serveApp(t: Test, frame: () => string): Promise<string> {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html')
    response.end(`<!doctype html><title>app</title>${frame() && `<iframe src="${frame()}"></iframe>`}`)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test(
  'a page of another origin reads and publishes with a key, and shows the hub in a frame, if the settings say so',
  async t => {
    let framed = ''
    const [app, stranger] = [await serveApp(t, () => framed), await serveApp(t, () => framed)]
    const users = await usersFile()
    await users.add('root', ['allow all #'], { kind: 'admin' })
    const hub = await startHub(t, { ...users.settings, 'ws.origins': app, 'http.frames': app })
    framed = `${hub.httpUrl}/login`
    const { authorization } = asAdmin(hub.dir)
    const script = `(async () => {
    const headers = { authorization: '${authorization}', 'content-type': 'application/json', 'idempotency-key': 'k' }
    const body = JSON.stringify({ topic: 'a', payload: 1 })
    try {
      const read = await fetch('${hub.httpUrl}/api/series', { headers: { authorization: headers.authorization } })
      await fetch('${hub.httpUrl}/api/publish', { method: 'POST', headers, body })
      const again = await fetch('${hub.httpUrl}/api/publish', { method: 'POST', headers, body })
      return [read.status, again.status, again.headers.get('idempotent-replayed'), JSON.stringify(await again.json())]
    } catch (error) {
      return String(error)
    }
  })()`

    const { page } = await openDashboard(t, app)
    t.same(await page.evaluate(script), [200, 200, 'true', '{"messages":[{"sequence":1}]}'])
    t.equal(await page.frames()[1]?.title(), 'Sign in · telehub', 'in a frame')

    const { page: other, problems } = await openDashboard(t, stranger)
    t.match(await other.evaluate(script), /Failed to fetch/, 'another page can do nothing')
    t.not(await other.frames()[1]?.title(), 'Sign in · telehub')
    t.ok(
      problems.some(problem => /frame-ancestors/.test(problem)),
      'no frame there',
    )
    await eventually(async () => {
      const { body } = await hub.get<{ received: number }>('/api/balance')
      return body.received === 1
    }, 'published once')
  },
)
