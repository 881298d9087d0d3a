import t from 'tap'
import { decodeReceipt, encodeReceipt, Receipts } from '../../src/accounting/receipts.js'
import { message } from '../contract/queue.js'

t.test('each hub is told of its own messages, before they are known', async t => {
  const told: { hub: string; body: Buffer }[] = []
  let fails = true
  const receipts = new Receipts({
    publishReceipts: async (hub, body) => {
      if (fails) throw new Error('RabbitMQ is away')
      told.push({ hub, body })
    },
  })
  const ofA = message(1, { hub: 'a', clientId: 'müller' })
  const ofB = message(1, { hub: 'b' })
  const stranger = message(0, { hub: '?x' })
  const all = [ofA, ofB, stranger, message(2, { hub: 'a', clientId: 'müller' }), ofA]
  const open = receipts.unsettled(all)
  t.equal(open.length, 4, 'each once')
  const settled = open.map((m, i) => ({
    message: m,
    rejection: i === 3 ? { reason: 'bad_json', detail: 'x' } : undefined,
  }))
  await t.rejects(receipts.settle(settled))
  t.equal(receipts.unsettled(all).length, 4, 'not told, so not settled')
  fails = false
  await receipts.settle(settled)
  t.same(receipts.unsettled(all), [stranger], 'one without a name of its own may be another one')
  t.same(
    told.map(({ hub, body }) => [
      hub,
      decodeReceipt(body)?.entries.map(({ message: { sequence, clientId }, reason }) => [sequence, clientId, reason]),
    ]),
    [
      [
        'a',
        [
          [1, 'müller', undefined],
          [2, 'müller', 'bad_json'],
        ],
      ],
      ['b', [[1, 'client/1#', undefined]]],
    ],
  )
})

t.test('what others put there is no receipt', async t => {
  const good = encodeReceipt({ entries: [{ message: message(3), reason: undefined }], moved: 'dropped' })
  t.match(decodeReceipt(good), { moved: 'dropped', entries: [{ message: { sequence: 3 } }] })
  for (const bad of [
    '',
    'x',
    '{}',
    'null',
    '{"entries":[[1]]}',
    '{"clients":[],"reasons":[],"entries":[[1,2,0,-1]]}',
  ]) {
    t.equal(decodeReceipt(Buffer.from(bad)), undefined, bad)
  }
})
