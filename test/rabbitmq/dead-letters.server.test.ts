import t from 'tap'
import { type DeadLetter, messageId } from '../../src/model.js'
import type { DeadLetters } from '../../src/queue/queue.js'
import { type DeadLettersUnderTest, deadLettersContract } from '../contract/dead-letters.js'
import { message } from '../contract/queue.js'
import { startRabbit } from '../services/rabbitmq.js'
import { channelOf, client, wipe } from './client.js'

const rabbit = await startRabbit()
t.teardown(() => rabbit.stop())

const never = new AbortController().signal
const sequences = (letters: readonly DeadLetter[]) => letters.map(({ message }) => message.sequence)

function open(): DeadLettersUnderTest {
  const dead = client(rabbit.url)
  return {
    dead,
    close: () => dead.stop(),
    reopen: async () => {
      await dead.stop()
      return open()
    },
  }
}

async function removeAll(
  dead: DeadLetters,
  which: (letter: DeadLetter) => boolean = () => true,
): Promise<DeadLetter[]> {
  const handed: DeadLetter[] = []
  await dead.sweep(
    {},
    async letters => {
      handed.push(...letters)
      return letters.map(which)
    },
    never,
  )
  return handed
}

t.test('dead letters in RabbitMQ', async t => {
  deadLettersContract(t, async () => {
    await wipe(rabbit.url)
    return open()
  })
})

t.test('what RabbitMQ itself gave up is a letter, and a batch is as many as it holds', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url, { envelope: 'batch' })
  await hub.publish([1, 2, 3].map(n => message(n)))
  await hub.publish([message(4, { hub: 'attic' })])
  const channel = await channelOf(t, rabbit.url)
  // Refused and not to come again: RabbitMQ dead-letters it.
  await channel.consume('telehub.record', got => {
    if (got) channel.nack(got, false, false)
  })
  let letters: readonly DeadLetter[] = []
  while (letters.length < 4) letters = await hub.list({}, 10)
  t.same(new Set(letters.map(letter => messageId(letter.message))), new Set(['1', '2', '3', 'attic-4']))
  t.match(letters[0], { reason: 'rejected', detail: /telehub\.record: rejected/ })
  t.ok(letters.every(({ failedAt }) => failedAt > 1_700_000_000_000_000))
  t.same(letters.find(letter => letter.message.sequence === 2)?.message, message(2), 'whole')
  const handed = await removeAll(hub, ({ message }) => message.sequence === 2)
  t.same(sequences(handed).sort(), [1, 2, 3, 4])
  t.same(sequences(await hub.list({}, 10)).sort(), [1, 3, 4], 'only that one of the batch is gone')
  await removeAll(hub)
  t.same(await hub.list({}, 10), [])
  await hub.stop()
})

t.test('a body that is no batch is one letter, and can be removed', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  await hub.publish([])
  const channel = await channelOf(t, rabbit.url)
  const contentType = 'application/vnd.telehub.batch'
  channel.publish('telehub.batches', 'record', Buffer.from('junk'), { contentType, messageId: 'x' })
  const delivery = await hub.reader('record').next(10, AbortSignal.timeout(20_000))
  t.equal(delivery?.messages.length, 1)
  t.match(delivery?.messages[0], { hub: '?x', sequence: 0, payload: Buffer.from('junk') })
  const rejection = delivery?.rejected?.get(0)
  t.match(rejection, { reason: 'bad_batch', detail: /4 bytes/ })
  if (!delivery || !rejection) return
  const letter = { message: delivery.messages[0], ...rejection, failedAt: 7, attempts: 1 } as DeadLetter
  await hub.put([letter])
  delivery.settle()
  t.same(await hub.list({}, 10), [letter])
  t.same(await removeAll(hub), [letter])
  t.same(await hub.list({}, 10), [])
  await hub.stop()
})

t.test('a letter that comes back while it is replayed is another one, and stays', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  const letter: DeadLetter = { message: message(1), reason: 'bad_json', detail: '', failedAt: 1, attempts: 1 }
  await hub.put([letter])
  const handed: number[] = []
  await hub.sweep(
    {},
    async letters => {
      handed.push(...sequences(letters))
      await hub.put([{ ...letter, attempts: 2 }])
      return [true]
    },
    never,
  )
  t.same(handed, [1])
  t.match(await hub.list({}, 10), [{ attempts: 2 }])
  await hub.stop()
})

t.test('more letters than RabbitMQ gives one consumer', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  const count = 12_000
  const all = Array.from({ length: count }, (_, i) => i + 1)
  for (let from = 0; from < count; from += 4_000) {
    await hub.put(
      all
        .slice(from, from + 4_000)
        .map(n => ({ message: message(n), reason: n % 2 ? 'odd' : 'even', detail: '', failedAt: n, attempts: 1 })),
    )
  }
  t.same(sequences(await hub.list({}, 3)), [count, count - 1, count - 2])
  const handed: number[] = []
  await hub.sweep(
    { reason: 'odd' },
    async letters => {
      handed.push(...sequences(letters))
      return letters.map(() => true)
    },
    never,
  )
  t.same(
    handed,
    all.filter(n => n % 2),
  )
  t.same(sequences(await hub.list({}, count)), all.filter(n => n % 2 === 0).reverse())
  await hub.stop()
})

t.test('looked at more often than RabbitMQ delivers by default; the queue deleted', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  await hub.put([{ message: message(1), reason: 'r', detail: 'd', failedAt: 1, attempts: 1 }])
  for (let i = 0; i < 30; i++) t.equal((await hub.list({}, 5)).length, 1)
  const channel = await channelOf(t, rabbit.url)
  await channel.deleteQueue('telehub.dead')
  await t.rejects(hub.list({}, 5), { code: 'queue_unavailable' })
  t.same(await hub.list({}, 5), [], 'the queue is declared again')
  await hub.stop()
})

/** RabbitMQ answers 0 when it is asked how many messages there are and the queue does not answer within 250 ms. */
async function stallDeadQueue(ms: number): Promise<void> {
  const program = `spawn(fun() -> P = whereis('%2F_telehub.dead'), sys:suspend(P), timer:sleep(${ms}), sys:resume(P) end).`
  await rabbit.ctl('eval', program)
}

t.test('a queue too busy to say how many letters it holds: none is left out', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  await hub.put([1, 2].map(n => ({ message: message(n), reason: 'r', detail: 'd', failedAt: n, attempts: 1 })))
  await stallDeadQueue(1_500)
  t.same(sequences(await hub.list({}, 10)), [2, 1], 'a list')
  await stallDeadQueue(1_500)
  t.same(sequences(await removeAll(hub, ({ message }) => message.sequence === 1)), [1, 2], 'a sweep')
  t.same(sequences(await hub.list({}, 10)), [2])
  await hub.stop()
})

t.test('each letter that was put is in the list that is asked for next, also while a sweep works', async t => {
  await wipe(rabbit.url)
  const hub = client(rabbit.url)
  const put = (n: number) => hub.put([{ message: message(n), reason: 'r', detail: 'd', failedAt: n, attempts: 1 }])
  const expected: number[] = []
  for (let n = 1; n <= 60; n++) {
    await put(n)
    expected.unshift(n)
    t.same(sequences(await hub.list({}, 100)), expected)
    if (n % 20 === 0) {
      await removeAll(hub, ({ message }) => message.sequence === n)
      expected.shift()
      t.same(sequences(await hub.list({}, 100)), expected, 'after a sweep')
    }
  }
  await hub.sweep(
    {},
    async letters => {
      await put(100)
      t.same(sequences(await hub.list({}, 100)), [100, ...expected])
      return letters.map(() => false)
    },
    never,
  )
  t.same(sequences(await hub.list({}, 100)), [100, ...expected])
  await hub.stop()
})
