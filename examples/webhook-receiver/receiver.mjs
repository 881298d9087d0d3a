// Receives what an outlet of the hub sends: SECRET=… node examples/webhook-receiver/receiver.mjs [PORT]
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import { gunzipSync } from 'node:zlib'

const { SECRET = '' } = process.env
const port = Number(process.argv[2] ?? 3001)
if (!SECRET || !Number.isInteger(port)) {
  console.error('usage: SECRET=… receiver.mjs [PORT]')
  process.exit(2)
}
const key = SECRET.startsWith('whsec_') ? Buffer.from(SECRET.slice('whsec_'.length), 'base64') : Buffer.from(SECRET)

/** How old a request may be, in seconds: somebody may have recorded it, and may send it again. */
const maxAge = 300
const maxBytes = 50_000_000

/** The newest ids of messages: after a crash the hub may send some again. A real receiver keeps them in its database. */
const seen = new Set()
const maxSeen = 100_000

/** Whether the hub has sent this body, and just now: Standard Webhooks 1.0. The signature is of the body as it came. */
function isSigned(headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': stamp, 'webhook-signature': signatures = '' } = headers
  if (!id || !(Math.abs(Date.now() / 1_000 - Number(stamp)) <= maxAge)) return false
  const expected = createHmac('sha256', key).update(`${id}.${stamp}.`).update(body).digest()
  // While a key is changed, a request may have a signature of each.
  return signatures.split(' ').some(signature => {
    const given = Buffer.from(signature.replace(/^v1,/, ''), 'base64')
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
}

/** Takes a message, once. */
function take({ id, topic, clientId, receivedAt, payload }) {
  if (seen.has(id)) return
  seen.add(id)
  if (seen.size > maxSeen) seen.delete(seen.values().next().value)
  console.log(new Date(receivedAt).toISOString(), id, clientId, topic, JSON.stringify(payload))
}

const server = createServer(async (request, response) => {
  const answer = (status, text = '') => response.writeHead(status, { 'content-type': 'text/plain' }).end(text)
  try {
    const parts = []
    let bytes = 0
    for await (const part of request) {
      bytes += part.length
      if (bytes > maxBytes) return answer(413, 'too large')
      parts.push(part)
    }
    const body = Buffer.concat(parts)
    // 401 is tried again: with a wrong key no message is lost.
    if (!isSigned(request.headers, body)) return answer(401, 'the signature is wrong, or too old')
    const text = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
    const messages = JSON.parse(text.toString())
    // 422: the hub sends the halves of the batch, until it knows which message this receiver never takes.
    if (messages.some(({ payload }) => payload === null)) return answer(422, 'a payload of null')
    for (const message of messages) take(message)
    answer(204)
  } catch (error) {
    console.error(error)
    if (!response.headersSent) answer(500, 'not taken')
  }
})
server.listen(port, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}/`))
