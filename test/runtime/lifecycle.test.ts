import t from 'tap'
import { type Part, startParts, together } from '../../src/runtime/lifecycle.js'

const part = (name: string, log: string[], more: Partial<Part> = {}): Part => ({
  name,
  start: () => void log.push(`start ${name}`),
  stop: () => void log.push(`stop ${name}`),
  ...more,
})

t.test('starts first to last, stops last to first, once', async t => {
  const log: string[] = []
  const stop = await startParts([part('a', log), part('b', log)])
  t.same(await Promise.all([stop(1_000), stop(1_000)]), [[], []])
  t.same(log, ['start a', 'start b', 'stop b', 'stop a'])
})

t.test('one that fails to start unwinds those before it', async t => {
  const log: string[] = []
  const failing = part('b', log, {
    start: async () => {
      throw new Error('no')
    },
  })
  await t.rejects(startParts([part('a', log), failing, part('c', log)]), { message: 'no' })
  t.same(log, ['start a', 'stop a'])
})

t.test('one that will not stop is left behind, and named; one that fails is named too', async t => {
  const log: string[] = []
  const stop = await startParts([
    part('a', log),
    part('stuck', log, { stop: () => new Promise(() => {}) }),
    part('broken', log, { stop: () => Promise.reject(new Error('oh')) }),
  ])
  const problems = await stop(150)
  t.equal(problems.length, 2)
  t.match(problems[0], /broken: oh/)
  t.match(problems[1], /stuck did not stop/)
  t.ok(log.includes('stop a'))
})

t.test('parts that start together: all begin at once, and stop in their order', async t => {
  const log: string[] = []
  let release: () => void = () => {}
  const slow = part('slow', log, {
    start: () => {
      log.push('begin slow')
      return new Promise(resolve => {
        release = resolve
      })
    },
  })
  const fast = part('fast', log, { start: () => void release() })
  const stop = await startParts([together('both', [slow, fast])])
  t.same(await stop(1_000), [])
  t.same(log, ['begin slow', 'stop slow', 'stop fast'])
})

t.test('parts that start together: when one fails, the others are stopped', async t => {
  const log: string[] = []
  const failing = part('b', log, { start: () => Promise.reject(new Error('no')) })
  await t.rejects(startParts([together('all', [part('a', log), failing, part('c', log)])]), { message: 'no' })
  t.same(log, ['start a', 'start c', 'stop a', 'stop c'])
  const broken = part('broken', log, { stop: () => Promise.reject(new Error('oh')) })
  const stop = await startParts([together('all', [broken, part('d', log)])])
  t.match(await stop(1_000), [/oh/])
  t.equal(log.at(-1), 'stop d')
})
