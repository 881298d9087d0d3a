import t from 'tap'
import { HubError } from '../../src/errors.js'
import type { DeadLetter } from '../../src/model.js'
import { type Batch, type Consumer, consume, type DeadLetters, type Ledger } from '../../src/queue/queue.js'
import { Circuit } from '../../src/runtime/retry.js'
import { Cursors } from '../../src/spool/cursors.js'
import { Spool } from '../../src/spool/spool.js'
import { message, type QueueUnderTest, queueContract } from '../contract/queue.js'
import { tempDir } from '../services/service.js'

/** The spool as a queue: its writing and its reading side in one thread. */
async function openSpool(dir: string): Promise<QueueUnderTest> {
  let cursors: Cursors | undefined
  // What the suite publishes has its times already; the spool stamps the same ones.
  let stamp = 0
  const spool = new Spool({
    dir,
    segmentBytes: 100_000,
    limitBytes: 1e9,
    fsync: 'group',
    clock: { now: () => stamp },
    log: { warn: sentence => t.fail(sentence) },
    incidents: { report: (_kind, sentence) => t.fail(sentence) },
  })
  spool.reportTo({ onCommitted: position => cursors?.committed(position) })
  await spool.start()
  cursors = new Cursors({
    dir,
    groups: ['record'],
    inherit: {},
    position: spool.position,
    freed: () => {},
    log: { warn: s => t.fail(s) },
    incidents: { report: (_kind, sentence) => t.fail(sentence) },
  })
  cursors.start()
  const reading = cursors
  const end = async () => {
    await reading.stop()
    await spool.stop()
  }
  return {
    group: 'record',
    queue: {
      reader: group => reading.reader(group),
      publish: async messages => {
        await Promise.all(
          messages.map(
            m =>
              new Promise<void>((resolve, reject) => {
                stamp = m.receivedAt
                spool.append(m, (_, error) => (error ? reject(error) : resolve()))
              }),
          ),
        )
      },
    },
    reopen: async () => {
      await end()
      return openSpool(dir)
    },
    close: end,
  }
}

t.test('the spool as a queue', async t => {
  queueContract(t, async () => openSpool(await tempDir()))
})

/** A reader of fixed deliveries, for the loop alone. */
function readerOf(deliveries: readonly Pick<Batch, 'messages' | 'rejected'>[]) {
  const left = [...deliveries]
  const settled: number[] = []
  return {
    settled,
    reader: {
      next: async (_limit: number, signal: AbortSignal) => {
        const delivery = left.shift()
        if (!delivery) {
          await new Promise(resolve => signal.addEventListener('abort', resolve))
          return undefined
        }
        return { ...delivery, settle: () => settled.push(...delivery.messages.map(m => m.sequence)) }
      },
    },
  }
}

interface Given {
  readonly put?: DeadLetters['put']
  readonly ledger?: Ledger
  readonly deliveries?: readonly Pick<Batch, 'messages' | 'rejected'>[]
  /** Whose absence an error tells of. */
  readonly circuitOf?: Consumer['circuitOf']
}

const messages = (...sequences: readonly number[]) => sequences.map(n => message(n))

async function run(handle: Consumer['handle'], { put, ledger, deliveries, circuitOf }: Given = {}) {
  const abort = new AbortController()
  const given = deliveries ?? [{ messages: messages(1, 2) }, { messages: messages(3, 4) }]
  const { reader, settled } = readerOf(given)
  const letters: DeadLetter[] = []
  const retried: string[] = []
  let recoveries = 0
  const dead: DeadLetters = {
    put: put ?? (async more => void letters.push(...more)),
    list: async () => letters,
    sweep: async () => {},
  }
  const done = consume(
    {
      name: 'test',
      reader,
      handle,
      dead,
      ...(ledger && { ledger }),
      batch: 2,
      clock: { now: () => 77 },
      circuitOf: circuitOf ?? (() => undefined),
      retrying: error => retried.push(error instanceof HubError ? error.code : String(error)),
      recovered: () => recoveries++,
    },
    abort.signal,
  )
  const count = given.flatMap(({ messages }) => messages).length
  while (settled.length < count) await new Promise(resolve => setTimeout(resolve, 5))
  abort.abort()
  await done
  return { settled, letters, retried, recoveries }
}

const bad = { reason: 'bad', detail: '' }

/** A ledger in memory; `before` runs ahead of what each `settle` does. */
function ledgerOf(known: readonly number[], before: (settled: number) => Promise<void> = async () => {}) {
  const done = new Set(known)
  const log: string[] = []
  const ledger: Ledger = {
    unsettled: messages => {
      const seen = new Set(done)
      return messages.filter(({ sequence }) => !seen.has(sequence) && seen.add(sequence))
    },
    settle: async settled => {
      await before(settled.length)
      for (const { message, rejection } of settled) {
        done.add(message.sequence)
        log.push(`${message.sequence} ${rejection?.reason ?? 'done'}`)
      }
    },
  }
  return { ledger, log }
}

t.test(
  'the loop: done messages settle, rejected ones are dead letters first, nothing is handed over twice',
  async t => {
    const seen: number[] = []
    const { settled, letters, retried } = await run(async messages => {
      seen.push(...messages.map(m => m.sequence))
      return messages.map(m => (m.sequence === 3 ? { reason: 'bad', detail: 'because' } : 'ack'))
    })
    t.same(settled, [1, 2, 3, 4])
    t.same(seen, [1, 2, 3, 4])
    t.match(letters, [{ message: { sequence: 3 }, reason: 'bad', detail: 'because', failedAt: 77, attempts: 1 }])
    t.same(retried, [])
  },
)

t.test('the loop: a throw tries all again, `retry` only those, and nothing overtakes', async t => {
  const calls: number[][] = []
  let failures = 2
  const { settled, letters, retried, recoveries } = await run(async messages => {
    calls.push(messages.map(m => m.sequence))
    if (messages[0]?.sequence === 1 && failures-- > 0) throw new HubError('store_unavailable', 'down')
    if (calls.length === 4) return ['retry', { reason: 'bad', detail: '' }]
    return undefined
  })
  t.same(calls, [[1, 2], [1, 2], [1, 2], [3, 4], [3]])
  t.same(settled, [1, 2, 3, 4])
  t.same(
    letters.map(letter => letter.message.sequence),
    [4],
  )
  t.same(retried, ['store_unavailable', 'store_unavailable', 'queue_unavailable'])
  t.equal(recoveries, 2)
})

t.test('the loop: a dead letter that cannot be kept is tried again, its message is not settled before', async t => {
  let refusals = 1
  const put: DeadLetters['put'] = async () => {
    if (refusals-- > 0) throw new HubError('queue_unavailable', 'no')
  }
  const { settled, retried } = await run(async messages => messages.map(() => bad), { put })
  t.same(settled, [1, 2, 3, 4])
  t.same(retried, ['queue_unavailable'])
})

t.test('the loop: a dead letter that fails does not hand anything over anew', async t => {
  const seen: number[][] = []
  const kept: number[] = []
  let refusals = 2
  const { settled, retried } = await run(
    async messages => {
      seen.push(messages.map(m => m.sequence))
      return messages.map(m => (m.sequence % 2 ? bad : 'ack'))
    },
    {
      put: async letters => {
        if (refusals-- > 0) throw new HubError('spool_failed', 'no')
        kept.push(...letters.map(letter => letter.message.sequence))
      },
    },
  )
  t.same(seen, [
    [1, 2],
    [3, 4],
  ])
  t.same(kept, [1, 3])
  t.same(settled, [1, 2, 3, 4])
  t.same(retried, ['spool_failed', 'spool_failed'])
})

t.test('the loop: what came too often goes to the dead letters and is not handed over', async t => {
  const seen: number[] = []
  const rejected = new Map([[1, { reason: 'poison', detail: 'came 20 times' }]])
  const { settled, letters } = await run(
    async messages => {
      seen.push(...messages.map(m => m.sequence))
      return messages.map(m => (m.sequence === 3 ? bad : 'ack'))
    },
    {
      deliveries: [
        { messages: messages(1, 2, 3), rejected },
        { messages: messages(4), rejected: new Map([[0, bad]]) },
      ],
    },
  )
  t.same(seen, [1, 3])
  t.same(letters.map(({ message, reason, detail }) => [message.sequence, reason, detail]).sort(), [
    [2, 'poison', 'came 20 times'],
    [3, 'bad', ''],
    [4, 'bad', ''],
  ])
  t.same(settled, [1, 2, 3, 4])
})

t.test('the loop: what the ledger has is not handled again, nor dead-lettered again, and is settled', async t => {
  const seen: number[][] = []
  const { ledger, log } = ledgerOf([1, 5])
  const { settled, letters } = await run(
    async messages => {
      seen.push(messages.map(m => m.sequence))
      return undefined
    },
    {
      ledger,
      deliveries: [
        { messages: messages(1, 2, 2, 3) },
        { messages: messages(1, 2, 3) },
        { messages: messages(3, 4, 5), rejected: new Map([0, 2].map(i => [i, bad])) },
        { messages: messages(5, 6), rejected: new Map([[1, bad]]) },
      ],
    },
  )
  t.same(seen, [[2, 3], [4]])
  t.same(
    letters.map(({ message }) => message.sequence),
    [6],
  )
  t.same(log, ['2 done', '3 done', '4 done', '6 bad'])
  t.same(settled, [1, 2, 2, 3, 1, 2, 3, 3, 4, 5, 5, 6])
})

t.test(
  'the loop: nothing is rejected back to its queue before the ledger has it, and that alone is tried again',
  async t => {
    const order: string[] = []
    let refusals = 1
    const { ledger } = ledgerOf([], async count => {
      order.push(`ledger asked for ${count}`)
      await new Promise(resolve => setTimeout(resolve, 5))
      if (refusals-- > 0) throw new HubError('spool_failed', 'no')
      order.push('ledger has it')
    })
    const { settled, retried, recoveries } = await run(
      async messages => {
        order.push(`handled ${messages.map(m => m.sequence)}`)
        return ['ack', bad]
      },
      { ledger, put: async letters => void order.push(`dead ${letters.map(letter => letter.message.sequence)}`) },
    )
    t.same(order, [
      'handled 1,2',
      'dead 2',
      'ledger asked for 2',
      'ledger asked for 2',
      'ledger has it',
      'handled 3,4',
      'dead 4',
      'ledger asked for 2',
      'ledger has it',
    ])
    t.same(settled, [1, 2, 3, 4])
    t.same(retried, ['spool_failed'])
    t.equal(recoveries, 1)
  },
)

t.test('the loop: told to stop while the ledger is busy, it does not give back', async t => {
  const abort = new AbortController()
  const { reader, settled } = readerOf([{ messages: messages(1) }])
  await consume(
    {
      name: 'test',
      reader,
      handle: async () => undefined,
      dead: { put: async () => {}, list: async () => [], sweep: async () => {} },
      ledger: {
        unsettled: messages => messages,
        settle: () => {
          abort.abort()
          return new Promise(() => {})
        },
      },
      batch: 1,
      clock: { now: () => 0 },
      circuitOf: () => undefined,
      retrying: () => t.fail('stopping is no failure'),
      recovered: () => {},
    },
    abort.signal,
  )
  t.same(settled, [])
})

t.test('the loop: a target that is down is waited for by its circuit', async t => {
  const states: string[] = []
  const circuit = new Circuit({
    key: 'store',
    name: 'DuckDB',
    clock: Date,
    changed: ({ state }) => states.push(state),
  })
  let failures = 2
  const { settled } = await run(
    async () => {
      if (failures-- > 0) throw new HubError('store_unavailable', 'down')
      return undefined
    },
    { circuitOf: () => circuit },
  )
  t.same(states, ['down', 'up'])
  t.same(settled, [1, 2, 3, 4])
})
