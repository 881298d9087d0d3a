import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadSettings } from '../../src/config/config.js'
import { Counters } from '../../src/observe/counters.js'
import { PipelineThread } from '../../src/pipeline/pipeline-thread.js'
import { unsharing } from '../../src/runtime/user-shares.js'
import { eventually } from '../harness.js'

/** A processor whose threads behave as `hubId` says when they are made. */
function processorOf(t: Test, behaviour: { now: 'works' | 'hangs' | 'dies' }) {
  const dir = t.testdir()
  const said: string[] = []
  const settings = loadSettings({ environment: {} })
  const processor = new PipelineThread({
    settings,
    dir,
    identity: {
      version: 'test',
      get hubId() {
        return behaviour.now
      },
    },
    sharing: unsharing,
    spool: {
      position: { segment: 1, end: 0, sequence: 0 },
      flush: async () => {},
      freed: () => {},
      recount: () => {},
    },
    counters: new Counters(),
    incidents: { report: () => {} },
    log: { info: sentence => said.push(sentence), warn: sentence => said.push(sentence) },
    entry: new URL('./stopping-thread.js', import.meta.url),
  })
  return { processor, settings, said, isIdle: () => existsSync(join(dir, 'idle')) }
}

t.test('a thread that dies while it is stopped is waited for: DuckDB is at work in it', async t => {
  const { processor, isIdle } = processorOf(t, { now: 'dies' })
  await processor.start()
  await t.rejects(processor.stop(), { code: 'processor_down', message: /died of the stop/ })
  t.ok(isIdle(), 'DuckDB was done before')
})

t.test('a stop does not wait for the start of a thread with other settings, but for DuckDB in it', async t => {
  const behaviour: Parameters<typeof processorOf>[1] = { now: 'works' }
  const { processor, settings, said, isIdle } = processorOf(t, behaviour)
  await processor.start()
  behaviour.now = 'hangs'
  void processor.onSettings(settings, true)
  await eventually(() => said.includes('starting: hangs'), 'the new thread starts')
  await processor.stop()
  t.ok(isIdle(), 'DuckDB was done before')
  t.same(said, ['starting: works', 'starting: hangs'], 'nobody is told that it died')
})

t.test('a stop that comes while the old thread is stopped starts no new one', async t => {
  const { processor, settings, said } = processorOf(t, { now: 'works' })
  await processor.start()
  void processor.onSettings(settings, true)
  await processor.stop()
  t.same(said, ['starting: works'])
})
