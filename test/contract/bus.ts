import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Bus, BusPlace, PlaceKeeper } from '../../src/cluster/bus.js'
import type { Message } from '../../src/model.js'
import { eventually } from '../harness.js'

/** What a test of a bus needs. */
export interface BusUnderTest {
  /** The bus as a hub with this id has it. */
  open(hubId: string): Bus
  /** Resolves when the log is empty. */
  emptied(): Promise<void>
}

/** A place that is kept in memory. */
export class KeptPlace implements PlaceKeeper {
  place: BusPlace | undefined
  readonly reasons: string[] = []

  passed(place: BusPlace): void {
    this.place = place
  }

  broken(reason: string): void {
    this.reasons.push(reason)
  }
}

export const message = (sequence: number, topic = 'a'): Message => ({
  ...{ sequence, topic, payload: Buffer.from(String(sequence)), qos: 1, retain: false },
  ...{ receivedAt: sequence, clientId: 'c', user: 'u', packetId: 0 },
})

/** Takes messages until there are so many; each as `hub/sequence`, and `-` for the hub's own. */
export async function taken(bus: Bus, keeper: PlaceKeeper, count: number): Promise<string[]> {
  const abort = new AbortController()
  const reader = bus.reader(keeper)
  const got: string[] = []
  while (got.length < count) {
    const batch = await reader.next(100, abort.signal).catch(() => undefined)
    if (!batch) {
      await sleep(100)
      continue
    }
    for (const { hub, sequence } of batch.messages) got.push(`${hub ?? '-'}/${sequence}`)
    batch.settle()
  }
  abort.abort()
  return got
}

/** The contract of {@link Bus}, for every implementation. */
export async function busContract(t: Test, { open, emptied }: BusUnderTest): Promise<void> {
  await t.test('every hub reads what all have appended, in one order, each from its place', async t => {
    await emptied()
    const [one, two] = [open('one'), open('two')]
    t.teardown(() => Promise.all([one.stop(), two.stop()]))
    await one.append([message(1), message(2)])
    await two.append([message(1, 'b'), message(2)])
    await one.append([message(3)])
    const [here, there] = [new KeptPlace(), new KeptPlace()]
    t.same(await taken(one, here, 5), ['-/1', '-/2', 'two/1', 'two/2', '-/3'])
    t.same(await taken(two, there, 5), ['one/1', 'one/2', '-/1', '-/2', 'one/3'])
    await two.append([message(3)])
    const again = open('one')
    t.teardown(() => again.stop())
    t.same(await taken(again, here, 1), ['two/3'], 'nothing twice, nothing left out')
    t.same([...here.reasons, ...there.reasons], [])
  })

  await t.test('many messages stay in their order, and whole', async t => {
    await emptied()
    const [one, two] = [open('one'), open('two')]
    t.teardown(() => Promise.all([one.stop(), two.stop()]))
    const keeper = new KeptPlace()
    const before = Array.from({ length: 3_000 }, (_, n) => message(n + 1, `t/${n % 7}`))
    await one.append(before.slice(0, 1_500))
    await one.append(before.slice(1_500))
    t.same(
      await taken(two, keeper, 3_000),
      before.map(({ sequence }) => `one/${sequence}`),
    )
  })

  await t.test('announcements reach those who listen, the speaker included', async t => {
    await emptied()
    const [one, two] = [open('one'), open('two')]
    t.teardown(() => Promise.all([one.stop(), two.stop()]))
    const heard: string[] = []
    let hearing = 0
    for (const [name, bus] of Object.entries({ one, two })) {
      bus.listen({
        onAnnouncement: payload => heard.push(`${name}: ${payload}`),
        onHearing: () => hearing++,
      })
    }
    await eventually(() => hearing === 2, 'both listen')
    one.announce(Buffer.from('hello'))
    await eventually(() => heard.length === 2, 'both hear')
    t.same(heard.sort(), ['one: hello', 'two: hello'])
  })
}
