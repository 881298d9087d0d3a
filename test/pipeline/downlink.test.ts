import t from 'tap'
import type { Outward } from '../../src/model.js'
import { Downlink } from '../../src/pipeline/downlink.js'
import { extensions, message } from '../contract/queue.js'

t.test('what back ends publish goes out with its properties and its expiry, and with nothing else', async t => {
  const out: Outward[] = []
  const asked: string[] = []
  const push = new Downlink({
    publish: async messages => void out.push(...messages),
    ask: async ({ topic, reply }) =>
      void asked.push(`${topic} → ${reply.queue}${reply.isRedelivered ? ', again' : ''}`),
  })
  const sent = extensions.map((extension, i) => message(i, { topic: `t/${i}`, ...extension }))
  const reply = { queue: 'replies', correlationId: '7', key: 'k', isRedelivered: false }
  const command = message(98, { topic: 'lamp/set', reply })
  const outcomes = await push.handle([message(99, { topic: '$hub/x', ...extensions[4], reply }), ...sent, command])
  t.same(asked, ['lamp/set → replies'], 'who waits for an answer asks for a command')
  t.match(outcomes, [{ reason: 'bad_topic' }, ...sent.map(() => 'ack')])
  t.strictSame(
    out,
    sent.map(({ topic, payload, qos, retain }, i) => ({ topic, payload, qos, retain, ...extensions[i] })),
  )
  await push.handle([command])
  t.equal(asked.at(-1), 'lamp/set → replies, again', 'of a batch that is handled again')
})
