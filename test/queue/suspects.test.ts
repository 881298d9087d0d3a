import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { DeadLetter, Message } from '../../src/model.js'
import { consume, type DeadLetters, type QueueReader } from '../../src/queue/queue.js'
import { Scrutiny, Suspects } from '../../src/queue/suspects.js'
import { message } from '../contract/queue.js'

/** What outlives the process: the queue, the dead letters, and what was done with the messages. */
class World {
  readonly handled: number[] = []
  readonly letters: DeadLetter[] = []
  deaths = 0
  largest = 0
  #queue: readonly Message[]

  constructor(count: number) {
    this.#queue = Array.from({ length: count }, (_, i) => message(i + 1))
  }

  get left(): number {
    return this.#queue.length
  }

  /** @param empty Called when there is nothing to take. */
  reader(empty: () => void): QueueReader {
    return {
      next: async (limit, signal) => {
        if (signal.aborted) return undefined
        const messages = this.#queue.slice(0, limit)
        if (messages.length === 0) {
          empty()
          return undefined
        }
        return {
          messages,
          settle: () => {
            this.#queue = this.#queue.slice(messages.length)
          },
        }
      },
    }
  }

  readonly dead: DeadLetters = {
    put: async letters => void this.letters.push(...letters),
    list: async () => [],
    sweep: async () => {},
  }
}

interface Life {
  readonly world: World
  readonly dir: string
  /** Ends the process, when it is among those handed over. */
  readonly isPoison: (sequence: number) => boolean
  readonly batch?: number
  /** The signal to end comes from outside after so many deliveries. */
  readonly killAfter?: number
  readonly name?: string
  readonly scrutiny?: Scrutiny
  readonly reason?: string | undefined
}

/** One life of a process: until it dies or everything is handled. */
async function live(t: Test, life: Life): Promise<void> {
  const { world, dir, isPoison, batch = 5_000, killAfter = Infinity, name = 'record' } = life
  const end = new AbortController()
  const reason = 'reason' in life ? life.reason : 'poison'
  const suspects = new Suspects({
    name,
    scrutiny: life.scrutiny ?? new Scrutiny(dir),
    batch,
    reason,
    blamed: () => {},
    log: { warn: sentence => t.fail(sentence) },
  })
  suspects.start()
  let deliveries = 0
  const die = () => {
    world.deaths++
    suspects.stop()
    end.abort()
    return new Promise<undefined>(() => {})
  }
  await consume(
    {
      name,
      reader: world.reader(() => end.abort()),
      suspects,
      dead: world.dead,
      batch,
      clock: { now: () => 1 },
      circuitOf: () => undefined,
      retrying: () => {},
      recovered: () => {},
      handle: async messages => {
        world.largest = Math.max(world.largest, messages.length)
        const at = messages.findIndex(({ sequence }) => isPoison(sequence))
        const whole = at < 0 ? messages : messages.slice(0, at)
        for (const { sequence } of whole) world.handled.push(sequence)
        return at >= 0 || ++deliveries > killAfter ? die() : undefined
      },
    },
    end.signal,
  )
  suspects.stop()
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1)
const isSane = (all: readonly number[]) => [...new Set(all)]

for (const count of [1, 5, 15, 26]) {
  t.test(`${count} of 200 messages end the process: they alone are set aside`, async t => {
    const world = new World(200)
    const dir = t.testdir()
    // Neighbours, the first and the last one among them.
    const poison = new Set(numbers(count).map(i => (i % 3 === 2 ? 200 - i : Math.floor((i * 190) / count))))
    poison.add(1).add(200)
    while (world.left > 0 && world.deaths < 500) await live(t, { world, dir, isPoison: n => poison.has(n) })
    t.same(new Set(world.letters.map(letter => letter.message.sequence)), poison)
    t.equal(world.letters.length, poison.size)
    t.ok(world.letters.every(({ reason }) => reason === 'poison'))
    t.same(
      isSane(world.handled),
      numbers(200).filter(n => !poison.has(n)),
    )
    t.ok(world.deaths <= poison.size * 12 + 12, `${world.deaths} deaths for ${poison.size} messages`)
  })
}

t.test(
  'killed by others four times with 20,000 messages waiting: nothing is set aside, and soon as many at a time',
  async t => {
    const world = new World(20_000)
    const dir = t.testdir()
    for (let kill = 0; kill < 4; kill++) await live(t, { world, dir, isPoison: () => false, killAfter: 0 })
    world.largest = 0
    await live(t, { world, dir, isPoison: () => false })
    t.same(world.letters, [])
    t.same(isSane(world.handled), numbers(20_000))
    t.equal(world.largest, 5_000)
  },
)

t.test('a handler that waits for a server is not suspected when the process is killed', async t => {
  const dir = t.testdir()
  const scrutiny = new Scrutiny(dir)
  const options = {
    name: 'record',
    batch: 100,
    reason: 'poison',
    blamed: () => {},
    log: { warn: () => {} },
    suspicionMs: 1,
  }
  const first = new Suspects({ ...options, scrutiny })
  first.start()
  void first.watch([message(1), message(2)], () => new Promise(() => {}))
  await sleep(50)
  first.stop()
  const second = new Suspects({ ...options, scrutiny: new Scrutiny(dir) })
  second.start()
  t.notOk(second.isLooking)
  second.stop()
})

t.test('another consumer that was at work when the process ended is not blamed', async t => {
  const dir = t.testdir()
  const isPoison = (n: number) => n === 7
  const [record, screens] = [new World(20), new World(20)]
  // Both are handling when the process ends: the one that is innocent has the same messages in hand each time.
  while (record.left > 0 && record.deaths < 100) {
    const scrutiny = new Scrutiny(dir)
    const other = new Suspects({
      name: 'live',
      scrutiny,
      batch: 20,
      reason: undefined,
      blamed: () => {},
      log: { warn: () => {} },
    })
    other.start()
    if (!other.isLooking) void other.watch([message(1)], () => new Promise(() => {}))
    await live(t, { world: record, dir, isPoison, scrutiny })
    other.stop()
  }
  t.same(
    record.letters.map(({ message }) => message.sequence),
    [7],
  )
  await live(t, { world: screens, dir, isPoison, name: 'live', reason: undefined })
  t.same(screens.deaths, 0, 'what was found to end the process is passed over')
  t.same(
    screens.handled,
    numbers(20).filter(n => n !== 7),
  )
  t.same(screens.letters, [])
})

t.test('a damaged record, or none, or a folder that cannot be written', async t => {
  const dir = t.testdir()
  for (const text of [
    '',
    '{',
    '{"first":1}',
    '\0\0\0',
    '{"first":"1","suspects":-1,"handling":0,"limit":0,"deaths":0}',
  ]) {
    writeFileSync(join(dir, 'record.handling'), text)
    writeFileSync(join(dir, 'condemned.json'), text)
    const world = new World(10)
    await live(t, { world, dir, isPoison: () => false })
    t.same(world.handled, numbers(10))
    t.equal(JSON.parse(readFileSync(join(dir, 'record.handling'), 'utf8').split('\n')[0] as string).handling, 0)
  }
  rmSync(dir, { recursive: true })
  writeFileSync(dir, 'a file in the place of the folder')
  const warnings: string[] = []
  const options = { name: 'record', batch: 10, reason: 'poison', blamed: () => {} }
  const suspects = new Suspects({
    ...options,
    scrutiny: new Scrutiny(dir),
    log: { warn: sentence => warnings.push(sentence) },
  })
  suspects.start()
  t.equal(suspects.next([message(1)], 0), 1)
  t.equal(await suspects.watch([message(1)], async () => 'handled'), 'handled')
  t.equal(warnings.length, 1)
})

t.test('a process that is about to end blames nobody: its successor does, and is heard', async t => {
  const dir = t.testdir()
  const blamed: string[] = []
  const lifeOf = () => {
    const scrutiny = new Scrutiny(dir)
    const options = { name: 'record', batch: 10, reason: 'poison', log: { warn: () => {} } }
    const suspects = new Suspects({ ...options, scrutiny, blamed: sentence => blamed.push(sentence) })
    suspects.start()
    return { scrutiny, suspects }
  }
  const dying = lifeOf()
  dying.scrutiny.end()
  t.equal(dying.suspects.blame(message(7)), 'retry')
  t.same(blamed, [])
  dying.suspects.stop()
  const next = lifeOf()
  t.notOk(next.scrutiny.isCondemned('7'))
  t.match(next.suspects.blame(message(7)), { reason: 'poison' })
  t.equal(blamed.length, 1)
  next.suspects.stop()
})
