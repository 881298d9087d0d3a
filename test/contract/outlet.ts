import type { Test } from 'tap'
import type { Message } from '../../src/model.js'
import type { Outlet } from '../../src/queue/queue.js'

/** What the suite needs of an outlet under test, with a real target. */
export interface OutletUnderTest {
  readonly outlet: Outlet
  /** Returns the sequence numbers of what the target has, in the order in which it got that. */
  has(): Promise<readonly number[]>
  /** Makes a message that the target takes. */
  message(sequence: number): Message
  /** Makes a message that the target refuses for good. Undefined: it takes everything. */
  refused: ((sequence: number) => Message) | undefined
  /** Takes the target away: nobody answers. */
  takeAway(): Promise<void>
  bringBack(): Promise<void>
  close(): Promise<void>
}

/** The contract of `Outlet`, for every kind of target. */
export function outletContract(t: Test, start: () => Promise<OutletUnderTest>): void {
  const begin = async (t: Test): Promise<OutletUnderTest> => {
    const tested = await start()
    t.teardown(async () => {
      await tested.outlet.close()
      await tested.close()
    })
    return tested
  }
  const signal = new AbortController().signal
  const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

  t.test('messages arrive in order, and one outcome for each or undefined says so', async t => {
    const { outlet, message, has } = await begin(t)
    for (const [from, to] of [
      [1, 1],
      [2, 300],
      [301, 450],
    ] as const) {
      const outcomes = await outlet.deliver(numbers(from, to).map(message), signal)
      t.ok(outcomes === undefined || outcomes.every(outcome => outcome === 'ack'), 'all taken')
      t.ok(outcomes === undefined || outcomes.length === to - from + 1)
    }
    t.same(await has(), numbers(1, 450))
  })

  t.test('a target that is away makes the call reject, and takes the messages when it is back', async t => {
    const tested = await begin(t)
    const { outlet, message, has } = tested
    await outlet.deliver([message(1)], signal)
    await tested.takeAway()
    await t.rejects(outlet.deliver([message(2), message(3)], signal), 'away')
    await t.rejects(outlet.deliver([message(2), message(3)], signal), 'still away')
    await tested.bringBack()
    for (let attempt = 0; ; attempt++) {
      try {
        await outlet.deliver([message(2), message(3)], signal)
        break
      } catch (error) {
        if (attempt > 100) throw error
        await new Promise(resolve => setTimeout(resolve, 100))
      }
    }
    t.same([...new Set(await has())], [1, 2, 3], 'each at least once, in order')
  })

  t.test('a refused message is told apart from those beside it', async t => {
    const { outlet, message, refused, has } = await begin(t)
    if (!refused) return void t.pass('takes everything')
    const outcomes = await outlet.deliver([message(1), refused(2), message(3), message(4), refused(5)], signal)
    t.match(outcomes, ['ack', { reason: /./, detail: /./ }, 'ack', 'ack', { reason: /./, detail: /./ }])
    t.same(await has(), [1, 3, 4])
  })

  t.test('an abort ends an attempt', async t => {
    const tested = await begin(t)
    await tested.takeAway()
    const abort = new AbortController()
    const delivered = tested.outlet.deliver([tested.message(1)], abort.signal)
    abort.abort()
    await t.rejects(delivered)
    await tested.bringBack()
  })

  t.test('closing an outlet that had nothing to do, and closing it again', async t => {
    const { outlet } = await begin(t)
    await t.resolves(outlet.close())
    await t.resolves(outlet.close())
  })
}
