import t from 'tap'
import { ConnectionLog } from '../../src/broker/connection-log.js'

const client = (id: string, address: string, user = '') => ({
  id,
  user,
  connection: { peer: { address, listener: 'mqtt', certificate: [] } as const },
})

function log() {
  let time = Date.parse('2026-01-31T12:00:00Z')
  const said: string[] = []
  const events: string[] = []
  const one = new ConnectionLog({
    isOpen: false,
    audit: { record: () => {}, repeated: ({ event, address }) => events.push(`${event} ${address}`) },
    log: { info: sentence => said.push(sentence) },
    clock: { now: () => time },
  })
  const takeOver = (id: string, from: string, to: string, ms: number) => {
    time += ms
    one.replaced(client(id, from))
    one.connected(client(id, to))
  }
  const pass = (ms: number) => {
    time += ms
  }
  return { one, said, events, takeOver, pass }
}

t.test('a fight is six takeovers of a client id in a minute, and is over two minutes after the last', t => {
  const { one, takeOver, pass } = log()
  for (let n = 0; n < 20; n++) takeOver('roaming', '192.0.2.1', '192.0.2.2', 15_000)
  t.equal(one.fights(), undefined, 'a device with a bad network')
  for (let n = 0; n < 6; n++) takeOver('twin', `192.0.2.${n % 2}`, `192.0.2.${(n + 1) % 2}`, 2_000)
  t.match(one.fights(), /twin \(192\.0\.2\.1 and 192\.0\.2\.0\); give each/)
  pass(100_000)
  t.ok(one.fights())
  pass(30_000)
  t.equal(one.fights(), undefined)
  for (let id = 0; id < 5; id++) for (let n = 0; n < 6; n++) takeOver(`same${id}`, '192.0.2.9', '192.0.2.9', 100)
  t.match(one.fights(), /same4 \(192\.0\.2\.9, both\), and 2 more; give each/)
  t.end()
})

t.test('any number of client ids: what is remembered is bounded, what is said too', t => {
  const { one, said, events, takeOver } = log()
  for (let n = 0; n < 5_000; n++) {
    takeOver(`id${n}`, '192.0.2.1', '192.0.2.2', 0)
    one.replaced(client(`lost${n}`, '192.0.2.3'))
  }
  t.equal(events.filter(event => event === 'takeover 192.0.2.2').length, 5_000)
  t.ok(said.length < 100, `${said.length} sentences`)
  one.connected(client('lost1', '192.0.2.4'))
  t.not(events.at(-1), 'takeover 192.0.2.4', 'the oldest are forgotten')
  t.end()
})

t.test('texts of clients stay within their line', t => {
  const { one, said } = log()
  one.connected(client('a\nb', '192.0.2.1', 'x'.repeat(1_000)))
  t.equal(said[0]?.includes('\n'), false)
  t.ok((said[0]?.length ?? 0) < 300)
  t.end()
})
