import type { Test } from 'tap'
import type { Message } from '../../src/model.js'
import { encodeProperties, maxPropertyBytes } from '../../src/mqtt/message-properties.js'
import type { Queue, QueueReader } from '../../src/queue/queue.js'

/** What the suite needs of an implementation under test. */
export interface QueueUnderTest {
  readonly queue: Queue
  /** The group that the suite reads with. */
  readonly group: string
  /** Ends it without settling anything, and opens it again on the same data. */
  reopen(): Promise<QueueUnderTest>
  close(): Promise<void>
}

export const message = (n: number, more: Partial<Message> = {}): Message => ({
  sequence: n,
  receivedAt: 1_700_000_000_000_000 + n,
  topic: `home/room ${n % 3}/dev.${n}`,
  payload: Buffer.from([0, 255, n % 256]),
  qos: (n % 3) as 0 | 1 | 2,
  retain: n % 2 === 0,
  clientId: `client/${n}#`,
  user: n % 2 === 0 ? 'müller' : '',
  packetId: 0,
  ...more,
})

/** What MQTT 5 adds to a message: nothing, little, much. */
export const extensions: readonly Pick<Message, 'properties' | 'expiresAt'>[] = [
  {},
  { expiresAt: 1_763_710_000_000_001 },
  { properties: encodeProperties({ payloadFormat: 0 }) },
  { properties: encodeProperties({ contentType: 'application/vnd.telehub.batch', correlationData: Buffer.alloc(0) }) },
  {
    properties: encodeProperties({
      payloadFormat: 1,
      contentType: 'text/plain; ä',
      responseTopic: 'replies/é.*%',
      correlationData: Buffer.from([0, 255, 10]),
      userProperties: [
        ['b', '2'],
        ['a', ''],
        ['b', '1'],
        ['', '__proto__'],
        ['__proto__', 'x'],
        ['mqtt-topic', 'elsewhere'],
      ],
    }),
    expiresAt: 2 ** 52,
  },
  { properties: encodeProperties({ contentType: 'ä'.repeat(200), responseTopic: 'é'.repeat(2_048) }) },
  { properties: encodeProperties({ correlationData: Buffer.alloc(maxPropertyBytes - 3, 200) }), expiresAt: 1 },
  { properties: encodeProperties({ userProperties: new Array(Math.floor(maxPropertyBytes / 6)).fill(['n', '']) }) },
].map(({ properties, ...rest }) => ({ ...rest, ...(properties && { properties }) }))

/** Takes `count` messages, settling as it goes. */
export async function take(reader: QueueReader, count: number): Promise<Message[]> {
  const taken: Message[] = []
  while (taken.length < count) {
    const delivery = await reader.next(count - taken.length, AbortSignal.timeout(20_000))
    if (!delivery) throw new Error(`only ${taken.length} of ${count} messages came`)
    taken.push(...delivery.messages)
    delivery.settle()
  }
  return taken
}

/** Every sentence of the port `Queue`, for any implementation. */
export function queueContract(t: Test, open: () => Promise<QueueUnderTest>): void {
  t.test('messages come whole and in order, in batches no larger than asked for', async t => {
    const { queue, group, close } = await open()
    const sent = Array.from({ length: 500 }, (_, i) => message(i + 1))
    await queue.publish(sent.slice(0, 200))
    await queue.publish(sent.slice(200))
    const reader = queue.reader(group)
    const first = await reader.next(7, AbortSignal.timeout(20_000))
    t.ok(first && first.messages.length >= 1 && first.messages.length <= 7)
    first?.settle()
    const rest = await take(reader, 500 - (first?.messages.length ?? 0))
    t.same([...(first?.messages ?? []), ...rest], sent)
    await close()
  })

  t.test('a reader waits for a message, and stops waiting when told', async t => {
    const { queue, group, close } = await open()
    const reader = queue.reader(group)
    const waiting = take(reader, 1)
    await queue.publish([message(1)])
    t.same(await waiting, [message(1)])
    const abort = new AbortController()
    const last = reader.next(1, abort.signal)
    abort.abort()
    t.equal(await last, undefined)
    t.equal(await reader.next(1, abort.signal), undefined, 'an aborted signal is seen at once')
    await close()
  })

  t.test(
    'what is published survives; what was not settled comes again, in order, what was settled does not',
    async t => {
      const before = await open()
      // Two publishes: what one of them puts together into one piece is settled as a whole.
      await before.queue.publish([1, 2].map(n => message(n)))
      await before.queue.publish([3, 4, 5, 6].map(n => message(n)))
      const reader = before.queue.reader(before.group)
      t.same(
        (await take(reader, 2)).map(m => m.sequence),
        [1, 2],
      )
      const unsettled = await reader.next(2, AbortSignal.timeout(20_000))
      t.equal(unsettled?.messages[0]?.sequence, 3)
      const after = await before.reopen()
      t.same(
        (await take(after.queue.reader(after.group), 4)).map(m => m.sequence),
        [3, 4, 5, 6],
      )
      await after.close()
    },
  )

  t.test('odd topics and large payloads', async t => {
    const { queue, group, close } = await open()
    const topics = ['/', 'a.b/c', '%2E/*', 'a//b', 'ü/#'.replace('#', 'x'), 'x'.repeat(300), `${'ä/'.repeat(150)}z`]
    const sent = [
      ...topics.map((topic, i) => message(i + 1, { topic })),
      message(8, { payload: Buffer.alloc(3_000_000, 7) }),
      message(9, { payload: Buffer.alloc(0) }),
    ]
    await queue.publish(sent)
    t.same(await take(queue.reader(group), sent.length), sent)
    await close()
  })

  t.test('what MQTT 5 adds: properties and expiry, beside messages that have neither', async t => {
    const { queue, group, reopen } = await open()
    const sent = extensions.map((extension, i) => message(i + 1, extension))
    await queue.publish(sent)
    const after = await reopen()
    t.strictSame(await take(after.queue.reader(group), sent.length), sent)
    await after.close()
  })

  t.test('publishes that overlap, larger than anything that is sent as one, come in order', async t => {
    const { queue, group, close } = await open()
    const sent = Array.from({ length: 3_000 }, (_, i) =>
      message(i + 1, { payload: Buffer.alloc(i % 500 === 0 ? 70_000 : i % 90, i % 256) }),
    )
    await Promise.all([0, 1, 2].map(part => queue.publish(sent.slice(part * 1_000, part * 1_000 + 1_000))))
    const reader = queue.reader(group)
    const taken: Message[] = []
    for (let limit = 1; taken.length < sent.length; limit = (limit * 7) % 1_013) {
      const delivery = await reader.next(limit, AbortSignal.timeout(20_000))
      if (!delivery || delivery.messages.length > limit) return t.fail(`asked for ${limit}`)
      taken.push(...delivery.messages)
      delivery.settle()
    }
    t.same(taken, sent)
    await close()
  })
}
