import t from 'tap'
import { HubError } from '../../src/errors.js'
import { Dependencies } from '../../src/pipeline/dependencies.js'

function open() {
  const said: string[] = []
  let time = 1_000
  const dependencies = new Dependencies({
    names: { store: 'InfluxDB', queue: 'RabbitMQ', disk: 'the disk' },
    meanwhile: 'the spool keeps what arrives',
    clock: { now: () => time },
    log: { info: sentence => said.push(sentence), warn: sentence => said.push(sentence) },
  })
  return { dependencies, said, later: (ms: number) => (time += ms) }
}

const away = () => new HubError('store_unavailable', 'ECONNREFUSED')

t.test('starting, up, down with the reason and the next try, back: each said once', async t => {
  const { dependencies, said } = open()
  t.same(
    dependencies.list().map(({ name, state }) => [name, state]),
    [
      ['InfluxDB', 'starting'],
      ['RabbitMQ', 'starting'],
    ],
    'the disk is only named when it fails',
  )
  dependencies.heard('store', true)
  dependencies.heard('queue', true)
  const circuit = dependencies.circuitOf(away())
  circuit?.failed(away())
  circuit?.failed(away())
  dependencies.retrying('record', away(), circuit)
  t.match(dependencies.list()[0], { state: 'down', detail: 'ECONNREFUSED', since: 1_000, retryAt: Number })
  t.same(dependencies.waiting(), [{ consumer: 'record', target: 'InfluxDB', detail: 'ECONNREFUSED' }])
  t.same(dependencies.failures(), { InfluxDB: 1, RabbitMQ: 0, 'the disk': 0 })
  circuit?.succeeded()
  dependencies.recovered('record')
  t.match(dependencies.list()[0], { state: 'up' })
  t.same(dependencies.waiting(), [])
  t.same(said, ['InfluxDB is down: ECONNREFUSED; the spool keeps what arrives', 'InfluxDB is back'])
})

t.test('a target that takes nothing more says so before anyone has failed on it', async t => {
  const { dependencies, said } = open()
  dependencies.heard('queue', true)
  dependencies.heard('queue', false, 'memory alarm')
  dependencies.heard('queue', false, 'memory alarm')
  t.match(dependencies.list()[1], { state: 'down', detail: 'memory alarm', since: 1_000 })
  dependencies.heard('queue', true)
  t.match(dependencies.list()[1], { state: 'up' })
  t.same(said, ['RabbitMQ is down: memory alarm; the spool keeps what arrives', 'RabbitMQ is back'])
})

t.test('nobody waits for the answer of one that is known to be down, until it is time to try again', async t => {
  const { dependencies, later } = open()
  let asked = 0
  const ask = (fails: boolean) =>
    dependencies.ask('store', async () => {
      asked++
      if (fails) throw away()
      return 'answer'
    })
  await t.rejects(ask(true), { code: 'store_unavailable' })
  await t.rejects(ask(false), { code: 'store_unavailable', message: /InfluxDB is down: ECONNREFUSED/ })
  t.equal(asked, 1)
  later(10_000)
  t.equal(await ask(false), 'answer')
  t.match(dependencies.list()[0], { state: 'up' })
  // A question that is wrong says nothing of the store.
  await t.rejects(dependencies.ask('store', () => Promise.reject(new HubError('bad_request', 'no'))))
  t.equal(await ask(false), 'answer')
})
