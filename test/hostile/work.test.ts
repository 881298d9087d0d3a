import t from 'tap'
import { RawClient } from '../clients/raw-mqtt.js'
import { eventually, startHub } from '../harness.js'
import { witness } from './witness.js'

/** So many filters of 30 levels that all match `m/a/a/…`, each with `plus` levels of +, no two the same. */
function dearFilters(count: number, plus: number): string[] {
  let seed = 1
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  const filters = new Set<string>()
  while (filters.size < count) {
    const levels = Array.from({ length: 28 }, () => 'a')
    for (let n = 0; n < plus; n++) levels[random(28)] = '+'
    filters.add(`m/${levels.join('/')}/#`)
  }
  return [...filters]
}

const dearTopic = (n: number) => `m/${'a/'.repeat(28)}x${n}`

async function subscribeAll(client: RawClient, filters: readonly string[]): Promise<number[]> {
  const codes: number[] = []
  for (let from = 0; from < filters.length; from += 250) {
    codes.push(...(await client.subscribe(filters.slice(from, from + 250).map(filter => [filter, 0] as const))))
  }
  return codes
}

for (const qos of [0, 1] as const) {
  t.test(
    `1,000 filters with many levels of + and publishes of QoS ${qos} that match them all: others are served`,
    async t => {
      const hub = await startHub(t, { 'limits.plusLevels': '32' })
      const mallory = new RawClient(t, hub.mqttUrl)
      await mallory.connect({ clientId: 'mallory' })
      await subscribeAll(mallory, dearFilters(1_000, 14))
      const good = await witness(t, hub)
      const publishes = 1_000
      let delivered = 0
      let acknowledged = 0
      mallory.handle = ({ cmd }) => {
        if (cmd === 'publish') delivered++
        if (cmd === 'puback') acknowledged++
        return cmd === 'publish' || cmd === 'puback'
      }
      for (let n = 0; n < publishes; n++) {
        const messageId = qos === 0 ? {} : { messageId: n + 1 }
        mallory.send({ cmd: 'publish', topic: dearTopic(n), payload: '', qos, dup: false, retain: false, ...messageId })
      }
      await eventually(() => delivered === publishes && acknowledged === qos * publishes, 'all are served')
      await good.end()
    },
  )
}
