import t from 'tap'
import { type Part, startParts } from '../../src/runtime/lifecycle.js'

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
