import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { Random } from '../fixtures/packets.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, startHub } from '../harness.js'
import { startRabbit } from '../services/rabbitmq.js'

/* Messages go on arriving while the past is read by other rules, and while the hub is killed: each is stored by one rule. */

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1e9)
const old = 'plant,topic=plant/press rpm'
const fresh = 'press,machine=press speed'
const rule = { topic: 'plant/{machine}', measurement: 'press', fields: { rpm: 'speed' } }

type Past = Answer<'GET /api/mapping/past'>

/** Publishes one number after the other, and again those that were not acknowledged when the hub was killed. */
class Press {
  readonly acknowledged: number[] = []
  #next = 0
  #unsure: number[] = []
  #sending: Promise<void> | undefined

  async start(test: Test, hub: RunningHub): Promise<void> {
    const device = await connectMqtt(test, hub.mqttUrl, { clientId: 'press', reconnectPeriod: 0 })
    this.#sending = this.#send(device)
  }

  /** Resolves once the connection is gone. Numbers without an acknowledgement are sent to the next hub. */
  async ended(): Promise<void> {
    await this.#sending
  }

  async #send(device: Awaited<ReturnType<typeof connectMqtt>>): Promise<void> {
    let isOver = false
    device.once('close', () => {
      isOver = true
      // Ends the wait for acknowledgements that no longer come.
      device.end(true)
    })
    while (!isOver) {
      const numbers = [...this.#unsure, ...Array.from({ length: 10 }, () => this.#next++)]
      this.#unsure = []
      await Promise.all(
        numbers.map(n =>
          device.publishAsync('plant/press', JSON.stringify({ rpm: n }), { qos: 1 }).then(
            () => void this.acknowledged.push(n),
            () => void this.#unsure.push(n),
          ),
        ),
      )
      await sleep(20)
    }
  }
}

const pastOf = async (hub: RunningHub) => (await hub.get<Past>('/api/mapping/past')).body
/** Resolves with the values. While the processor thread starts with other rules, nobody answers. */
const valuesOf = (hub: RunningHub, key: string) =>
  eventually(async () => {
    const values = (await history(hub, key)) as number[] | undefined
    return values && { values }
  }, 'an answer')

const ways = [
  ['the embedded queue', {}],
  ['RabbitMQ', { 'rabbitmq.url': rabbit.url }],
] as const
for (const [queue, more] of ways)
  t.test(`with ${queue}, messages that arrive meanwhile are stored once, and by the new rules in the end`, async t => {
    t.comment(`FUZZ_SEED=${seed}`)
    const random = new Random(seed)
    const settings = { 'spool.keep': '1h', ...more }
    let hub = await startHub(t, settings)
    const press = new Press()
    await press.start(t, hub)
    await eventually(() => press.acknowledged.length > 200, 'there is a past')
    for (const [path, final, where, empty] of [
      ['/api/mapping/apply', 'done', fresh, old],
      ['/api/mapping/apply/undo', 'undone', old, fresh],
    ] as const) {
      for (let kills = 0; (await pastOf(hub)).change?.phase !== final; kills++) {
        const { change } = await pastOf(hub)
        if (change?.phase !== 'applying' && change?.phase !== 'undoing')
          void fetch(`${hub.httpUrl}${path}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json', ...asAdmin(hub.dir) },
            body: JSON.stringify(path.endsWith('undo') ? {} : { rules: [rule], from: 0 }),
          }).then(
            response => response.body?.cancel(),
            () => {},
          )
        if (kills >= 3) {
          await eventually(async () => (await pastOf(hub)).change?.phase === final, 'it ends')
          break
        }
        await sleep(random.below(800))
        await hub.kill()
        await press.ended()
        hub = await startHub(t, settings, hub.dir)
        await press.start(t, hub)
      }
      const sent = press.acknowledged.length
      await eventually(() => press.acknowledged.length > sent + 50, 'the hub goes on')
      const all = new Set(press.acknowledged)
      await eventually(async () => {
        const found = new Set((await valuesOf(hub, where)).values)
        return [...all].every(n => found.has(n))
      }, `each acknowledged number is in ${where}`)
      t.same((await valuesOf(hub, empty)).values, [], `none is left in ${empty}`)
    }
    await hub.kill()
    await press.ended()
    hub = await startHub(t, settings, hub.dir)
    const balance = await eventually(async () => {
      const { body } = await hub.get<{ received: number; stored: number; residual: number; dead: number }>(
        '/api/balance',
      )
      return body.received === body.stored && body
    }, 'all is stored')
    t.equal(balance.residual, 0)
    t.ok(balance.received >= press.acknowledged.length)
    t.equal((await valuesOf(hub, old)).values.length, balance.received, 'one reading of each message')
  })
