import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { NativeCalls } from '../../src/store/native-calls.js'

/** A call that ends when it is told to. */
function callOf<T>() {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((done, fail) => {
    resolve = done
    reject = fail
  })
  return { call: () => promise, resolve, reject }
}

t.test('a call ends as it does', async t => {
  const calls = new NativeCalls()
  t.equal(await calls.run(async () => 7), 7)
  await t.rejects(
    calls.run(async () => {
      throw new Error('no')
    }),
    { message: 'no' },
  )
  await calls.end()
})

t.test('the end waits for every call under way, however it ends, and no caller goes on', async t => {
  const calls = new NativeCalls()
  const [first, second] = [callOf<number>(), callOf<number>()]
  const heard: string[] = []
  for (const { call } of [first, second]) {
    void calls.run(call).then(
      () => heard.push('resolved'),
      () => heard.push('rejected'),
    )
  }
  const ended = calls.end().then(() => heard.push('ended'))
  first.resolve(1)
  await sleep(20)
  t.same(heard, [], 'one is under way')
  second.reject(new Error('no'))
  await ended
  await sleep(20)
  t.same(heard, ['ended'])
})

t.test('after the end no call begins', async t => {
  const calls = new NativeCalls()
  await calls.end()
  let hasBegun = false
  void calls.run(async () => {
    hasBegun = true
  })
  await sleep(20)
  t.equal(hasBegun, false)
})

t.test('a caller whose call had ended just before goes on before the end, not after it', async t => {
  const calls = new NativeCalls()
  const heard: string[] = []
  const { call, resolve } = callOf<void>()
  const caller = async () => {
    await calls.run(call)
    heard.push('first')
    await calls.run(async () => heard.push('second'))
  }
  void caller()
  resolve()
  await call()
  await Promise.resolve()
  await calls.end()
  heard.push('ended')
  await sleep(20)
  t.equal(heard[0], 'first')
  t.equal(heard.at(-1), 'ended', 'nothing happens after the end')
})
