import type { Test } from 'tap'
import { type DeadLetter, type Message, messageId } from '../../src/model.js'
import type { DeadLetterFilter, DeadLetters } from '../../src/queue/queue.js'
import { extensions, message } from './queue.js'

export interface DeadLettersUnderTest {
  readonly dead: DeadLetters
  /** Ends it and opens it again on the same data. */
  reopen(): Promise<DeadLettersUnderTest>
  close(): Promise<void>
}

const epoch = 1_700_000_000_000_000

export const letter = (n: number, more: Partial<DeadLetter> = {}, parts: Partial<Message> = {}): DeadLetter => ({
  message: message(n, parts),
  reason: 'bad_json',
  detail: `not valid: "${n}\n"`,
  failedAt: epoch + n,
  attempts: n,
  ...more,
})

export const numbers = (letters: readonly DeadLetter[]) => letters.map(({ message }) => message.sequence)

export const all = (dead: DeadLetters, filter: DeadLetterFilter = {}) => dead.list(filter, 10_000)

const never = new AbortController().signal

/** Removes what fits; returns the batches it was handed. */
export async function removeAll(dead: DeadLetters, filter: DeadLetterFilter = {}): Promise<number[][]> {
  const batches: number[][] = []
  await dead.sweep(
    filter,
    async letters => {
      batches.push(numbers(letters))
      return letters.map(() => true)
    },
    never,
  )
  return batches
}

/** Every sentence of the port `DeadLetters`, for any implementation. */
export function deadLettersContract(t: Test, open: () => Promise<DeadLettersUnderTest>): void {
  t.test('what is put is there, whole, the newest first, no more than asked for', async t => {
    const { dead, close } = await open()
    t.same(await all(dead), [])
    await dead.put([])
    const odd = letter(3, { detail: 'ünïcode \u0000 "{\\' }, { payload: Buffer.alloc(100_000, 1), topic: 'a//b' })
    await dead.put([letter(1), letter(2, {}, { payload: Buffer.alloc(0), packetId: 7 }), odd])
    await dead.put([letter(4)])
    t.same(await all(dead), [letter(4), odd, letter(2, {}, { payload: Buffer.alloc(0), packetId: 7 }), letter(1)])
    const two = numbers(await dead.list({}, 2))
    t.equal(two.length, 2)
    t.ok((two[0] as number) > (two[1] as number), 'also when there are more than asked for')
    t.same(await dead.list({}, 0), [])
    t.equal((await all(dead)).length, 4, 'looking takes nothing out')
    await close()
  })

  t.test('that some values of the message are stored is kept', async t => {
    const { dead, reopen } = await open()
    await dead.put([letter(1, { partly: true }), letter(2)])
    t.same(await all(dead), [letter(2), letter(1, { partly: true })])
    const again = await reopen()
    t.strictSame(
      (await all(again.dead)).map(({ partly }) => partly),
      [undefined, true],
    )
    await again.close()
  })

  t.test('what MQTT 5 adds to its message is kept, looked at, handed over and put again', async t => {
    const { dead, reopen } = await open()
    const letters = extensions.map((extension, i) => letter(i + 1, {}, extension))
    await dead.put(letters)
    t.strictSame(await all(dead), letters.toReversed())
    const again = await reopen()
    const handed: DeadLetter[] = []
    await again.dead.sweep(
      {},
      async some => {
        handed.push(...some)
        return some.map(() => true)
      },
      never,
    )
    t.strictSame(handed, letters)
    await again.dead.put(handed)
    t.strictSame(await all(again.dead), letters.toReversed())
    await again.close()
  })

  t.test('it is still there after a restart, and takes more', async t => {
    const before = await open()
    await before.dead.put([letter(1)])
    const after = await before.reopen()
    await after.dead.put([letter(2)])
    t.same(
      await all(after.dead),
      [2, 1].map(n => letter(n)),
    )
    await after.close()
  })

  t.test('a letter that is put again is there once: at once, twice in one call, after a restart', async t => {
    const before = await open()
    await before.dead.put([letter(1), letter(2)])
    await before.dead.put([letter(2, { attempts: 5 })])
    t.same(numbers(await all(before.dead)), [2, 1])
    const after = await before.reopen()
    await after.dead.put([letter(1), letter(2), letter(3), letter(3)])
    t.same(numbers(await all(after.dead)).sort(), [1, 2, 3])
    t.same((await removeAll(after.dead)).flat().sort(), [1, 2, 3], 'nor is it handed over twice')
    t.same(await all(after.dead), [])
    await after.close()
  })

  t.test('messages of several hubs may have the same number', async t => {
    const { dead, reopen } = await open()
    const own = letter(7)
    const others = [letter(7, {}, { hub: 'attic' }), letter(7, {}, { hub: 'cellar-2' })] as const
    await dead.put([own, ...others])
    const again = await reopen()
    await again.dead.put([own, ...others])
    t.same(await all(again.dead), [others[1], others[0], own])
    t.same(await all(again.dead, { id: messageId(others[1].message) }), [others[1]])
    t.same(await all(again.dead, { id: '7' }), [own])
    await removeAll(again.dead, { id: messageId(others[0].message) })
    t.same(await all(again.dead), [others[1], own])
    await again.close()
  })

  t.test('a filter names what is meant: id, reason, client, topic, from and to, all of them together', async t => {
    const { dead, close } = await open()
    const letters = [1, 2, 3, 4, 5, 6].map(n =>
      letter(
        n,
        { reason: n % 2 ? 'odd' : 'even' },
        { clientId: n < 4 ? 'low' : 'high', topic: n === 5 ? 'plant/5' : `plant/${n}/oven` },
      ),
    )
    await dead.put(letters)
    const cases: [DeadLetterFilter, number[]][] = [
      [{}, [6, 5, 4, 3, 2, 1]],
      [{ id: '3' }, [3]],
      [{ id: '33' }, []],
      [{ id: 'other-3' }, []],
      [{ reason: 'even' }, [6, 4, 2]],
      [{ reason: 'eve' }, []],
      [{ clientId: 'low' }, [3, 2, 1]],
      [{ topic: 'plant/5' }, [5]],
      [{ topic: 'plant/+/oven' }, [6, 4, 3, 2, 1]],
      [{ topic: '#', reason: 'even' }, [6, 4, 2]],
      [{ topic: 'plant' }, []],
      [{ from: epoch + 5 }, [6, 5]],
      [{ to: epoch + 2 }, [1]],
      [{ from: epoch + 2, to: epoch + 5 }, [4, 3, 2]],
      [{ from: epoch + 2, to: epoch + 2 }, []],
      [{ reason: 'odd', clientId: 'high' }, [5]],
      [{ id: '3', reason: 'even' }, []],
      [{ id: undefined, reason: undefined, clientId: undefined, from: undefined, to: undefined }, [6, 5, 4, 3, 2, 1]],
    ]
    for (const [filter, expected] of cases) {
      t.same(numbers(await all(dead, filter)), expected, JSON.stringify(filter))
      const swept: number[] = []
      const keep = async (handed: readonly DeadLetter[]) => {
        swept.push(...numbers(handed))
        return handed.map(() => false)
      }
      await dead.sweep(filter, keep, never)
      t.same(swept, expected.toReversed(), `swept: ${JSON.stringify(filter)}`)
    }
    t.same(await all(dead), letters.toReversed(), 'whole and in order, as nothing was removed')
    await removeAll(dead, { reason: 'even' })
    t.same(numbers(await all(dead)), [5, 3, 1])
    await close()
  })

  t.test('a sweep: oldest first, no more than 500 at a time, those answered true are gone for good', async t => {
    const { dead, reopen } = await open()
    const letters = Array.from({ length: 1_203 }, (_, i) => letter(i + 1))
    await dead.put(letters)
    const batches: DeadLetter[][] = []
    await dead.sweep(
      {},
      async handed => {
        batches.push([...handed])
        return handed.map(({ message }) => message.sequence % 3 === 0)
      },
      never,
    )
    t.same(batches.flat(), letters)
    t.ok(batches.every(({ length }) => length >= 1 && length <= 500))
    const left = numbers(letters).filter(n => n % 3 !== 0)
    t.same(numbers(await all(dead)), left.toReversed())
    const again = await reopen()
    t.same(numbers(await all(again.dead)), left.toReversed())
    t.same((await removeAll(again.dead)).flat(), left)
    t.same(await all(again.dead), [])
    await again.dead.put([letter(3)])
    t.same(numbers(await all(again.dead)), [3], 'a letter that was removed may come again')
    await again.close()
  })

  t.test('what a batch removed is gone when the next one comes', async t => {
    const { dead, close } = await open()
    await dead.put(Array.from({ length: 700 }, (_, i) => letter(i + 1)))
    let before: number[] = []
    await dead.sweep(
      {},
      async handed => {
        const there = new Set(numbers(await all(dead)))
        t.notOk(before.some(n => there.has(n)))
        before = numbers(handed)
        return handed.map(() => true)
      },
      never,
    )
    t.equal(before.at(-1), 700)
    await close()
  })

  t.test('a throw ends a sweep and removes nothing of that batch', async t => {
    const { dead, reopen } = await open()
    await dead.put(Array.from({ length: 700 }, (_, i) => letter(i + 1)))
    const batches: number[][] = []
    const failing = dead.sweep(
      {},
      async handed => {
        batches.push(numbers(handed))
        if (batches.length === 2) throw new Error('the store is down')
        return handed.map(() => true)
      },
      never,
    )
    await t.rejects(failing, { message: 'the store is down' })
    t.equal(batches.length, 2)
    const again = await reopen()
    const gone = new Set(batches[0])
    const left = Array.from({ length: 700 }, (_, i) => i + 1).filter(n => !gone.has(n))
    t.same(numbers(await all(again.dead)), left.toReversed())
    await again.close()
  })

  t.test('a signal ends a sweep, and removes nothing of the batch in hand', async t => {
    const { dead, reopen } = await open()
    await dead.put([1, 2, 3].map(n => letter(n)))
    const abort = new AbortController()
    let calls = 0
    const endless = dead.sweep(
      {},
      () => {
        calls++
        abort.abort()
        return new Promise(() => {})
      },
      abort.signal,
    )
    await endless
    await dead.sweep({}, async letters => letters.map(() => Boolean(++calls)), abort.signal)
    t.equal(calls, 1, 'a signal that was there before: nothing is handed over')
    const late = new AbortController()
    await dead.sweep(
      {},
      async letters => {
        late.abort()
        return letters.map(() => true)
      },
      late.signal,
    )
    t.same(numbers(await all(dead)), [3, 2, 1])
    const again = await reopen()
    t.same(numbers(await all(again.dead)), [3, 2, 1])
    await again.close()
  })

  t.test('what is put during a sweep is kept, and the sweep ends', async t => {
    const { dead, reopen } = await open()
    await dead.put([1, 2, 3].map(n => letter(n)))
    await dead.sweep(
      {},
      async letters => {
        // As a replay that fails again: whether the sweep comes past these too is not said.
        const more = letters.filter(({ message }) => message.sequence < 100)
        await dead.put(more.map(({ message }) => letter(message.sequence + 100, { reason: 'again' })))
        return letters.map(({ message }) => message.sequence < 100)
      },
      never,
    )
    t.same(numbers(await all(dead)), [103, 102, 101])
    const again = await reopen()
    t.same(numbers(await all(again.dead)), [103, 102, 101])
    await again.close()
  })
}
