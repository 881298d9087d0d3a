import t from 'tap'
import { RawClient } from '../clients/raw-mqtt.js'
import { startHub } from '../harness.js'

const hub = await startHub(t)

t.test('what is retained while a kept session subscribes comes once: live, or as retained', async t => {
  const seen: string[] = []
  const expected: string[] = []
  for (const version of [4, 5] as const) {
    for (let round = 0; round < 25; round++) {
      const client = new RawClient(t, hub.mqttUrl, version)
      const kept = version === 5 ? { clean: true, properties: { sessionExpiryInterval: 60 } } : { clean: false }
      await client.connect({ clientId: `kept-${version}-${round}`, ...kept })
      const topic = `while/${version}/${round}`
      const publish = { cmd: 'publish', topic, qos: 1, retain: true, dup: false } as const
      // The publishes wait for the spool, the SUBACK for the journal: either may be first.
      client.send(
        { ...publish, payload: '1', messageId: 1 },
        { cmd: 'subscribe', messageId: 2, subscriptions: [{ topic, qos: 0 }] },
        { ...publish, payload: '2', messageId: 3 },
      )
      const packets = [...(await client.until('suback')), ...(await client.soFar())]
      while (packets.filter(({ cmd }) => cmd === 'puback').length < 2) packets.push(await client.next())
      packets.push(...(await client.soFar()))
      for (const packet of packets) if (packet.cmd === 'publish') seen.push(`${topic} ${packet.payload}`)
      expected.push(`${topic} 1`, `${topic} 2`)
      client.destroy()
    }
  }
  t.same(seen.sort(), expected.sort())
})
