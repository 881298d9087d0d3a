import { join } from 'node:path'
import t from 'tap'
import { HubError } from '../../src/errors.js'
import type { DeadLetter, Message, Outcome } from '../../src/model.js'
import { Cursors } from '../../src/queue/cursors.js'
import { DeadLetterFiles } from '../../src/queue/dead-letters.js'
import { backoffMs, consume, type DeadLetters } from '../../src/queue/queue.js'
import { Spool } from '../../src/queue/spool.js'
import { type DeadLettersUnderTest, deadLettersContract } from '../contract/dead-letters.js'
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
    settled: () => {},
    now: () => stamp,
    committed: position => cursors?.committed(position),
    warn: sentence => t.fail(sentence),
  })
  await spool.start()
  cursors = new Cursors({
    dir,
    groups: ['record'],
    inherit: {},
    position: spool.position,
    freed: () => {},
    warn: s => t.fail(s),
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

t.test('dead letters in files', async t => {
  deadLettersContract(t, async () => {
    const dir = join(await tempDir(), 'dead')
    const open = async (): Promise<DeadLettersUnderTest> => {
      const dead = new DeadLetterFiles(dir)
      await dead.start()
      return { dead, reopen: () => dead.stop().then(open), close: () => dead.stop() }
    }
    return open()
  })
})

/** A reader of a fixed list, for the loop alone. */
function listOf(messages: readonly Message[]) {
  const left = [...messages]
  const settled: number[] = []
  return {
    settled,
    reader: {
      next: async (limit: number, signal: AbortSignal) => {
        const taken = left.splice(0, limit)
        if (taken.length === 0) {
          await new Promise(resolve => signal.addEventListener('abort', resolve))
          return undefined
        }
        return { messages: taken, settle: () => settled.push(...taken.map(m => m.sequence)) }
      },
    },
  }
}

async function run(
  handle: (messages: readonly Message[]) => Promise<readonly Outcome[] | undefined>,
  put?: DeadLetters['put'],
) {
  const abort = new AbortController()
  const { reader, settled } = listOf([1, 2, 3, 4].map(n => message(n)))
  const letters: DeadLetter[] = []
  const retried: string[] = []
  let recoveries = 0
  const done = consume(
    {
      name: 'test',
      reader,
      handle,
      dead: { put: put ?? (async more => void letters.push(...more)), list: async () => letters },
      batch: 2,
      now: () => 77,
      retrying: error => retried.push(error instanceof HubError ? error.code : String(error)),
      recovered: () => {
        recoveries++
        if (settled.length === 4) abort.abort()
      },
    },
    abort.signal,
  )
  while (settled.length < 4) await new Promise(resolve => setTimeout(resolve, 5))
  abort.abort()
  await done
  return { settled, letters, retried, recoveries }
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
  const { settled, retried } = await run(async messages => messages.map(() => ({ reason: 'bad', detail: '' })), put)
  t.same(settled, [1, 2, 3, 4])
  t.same(retried, ['queue_unavailable'])
})

t.test('pauses grow to ten seconds and no further, with chance in them', async t => {
  t.same(
    [0, 1, 2, 6, 7, 50].map(attempt => backoffMs(attempt, () => 0)),
    [100, 200, 400, 6_400, 10_000, 10_000],
  )
  t.equal(
    backoffMs(50, () => 1),
    7_500,
  )
})
