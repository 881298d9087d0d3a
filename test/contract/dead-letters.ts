import type { Test } from 'tap'
import type { DeadLetter } from '../../src/model.js'
import type { DeadLetters } from '../../src/queue/queue.js'
import { message } from './queue.js'

export interface DeadLettersUnderTest {
  readonly dead: DeadLetters
  /** Ends it and opens it again on the same data. */
  reopen(): Promise<DeadLettersUnderTest>
  close(): Promise<void>
}

const letter = (n: number): DeadLetter => ({
  message: message(n),
  reason: 'bad_json',
  detail: `not valid: "${n}\n"`,
  failedAt: 1_700_000_000_000_000 + n,
  attempts: n,
})

/** Every sentence of the port `DeadLetters`, for any implementation. */
export function deadLettersContract(t: Test, open: () => Promise<DeadLettersUnderTest>): void {
  t.test('what is put is there, whole, the newest first, no more than asked for', async t => {
    const { dead, close } = await open()
    t.same(await dead.list(10), [])
    await dead.put([1, 2, 3].map(letter))
    await dead.put([letter(4)])
    t.same(await dead.list(10), [4, 3, 2, 1].map(letter))
    t.equal((await dead.list(2)).length, 2)
    t.equal((await dead.list(10)).length, 4, 'looking takes nothing out')
    await close()
  })

  t.test('it is still there after a restart, and takes more', async t => {
    const before = await open()
    await before.dead.put([letter(1)])
    const after = await before.reopen()
    await after.dead.put([letter(2)])
    t.same(await after.dead.list(10), [2, 1].map(letter))
    await after.close()
  })
}
