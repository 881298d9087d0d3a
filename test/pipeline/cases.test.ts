import { join } from 'node:path'
import t from 'tap'
import { type Message, type SeriesId, seriesKey } from '../../src/model.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import { Recorder } from '../../src/pipeline/recorder.js'
import { DuckDbStore } from '../../src/store/duckdb.js'
import { failuresOf, fill, messagesOf, once, payloadOf, type Run, readCases, type ShownSeries } from '../cases.js'
import { tempDir } from '../services/service.js'

/** What real devices publish, through the mapping with default settings into the store. */

const run: Run = { word: 'r7', now: Date.now() }

t.test('what public bug reports tell of is stored right, without a line of configuration', async t => {
  const store = new DuckDbStore({ path: join(await tempDir(), 'store.duckdb') })
  await store.start()
  t.teardown(() => store.stop())
  const mapping = new Mapping([], { depth: 16, fields: 500, inflated: 1e6 })
  const recorder = new Recorder({ mapping, store })
  // Sparkplug B needs the births that a whole hub keeps: e2e/cases has it.
  const cases = readCases().filter(({ id }) => !id.startsWith('sparkplug'))
  const messages: Message[] = []
  for (const one of cases) {
    for (const message of messagesOf(one)) {
      const sequence = messages.length + 1
      messages.push({
        sequence,
        receivedAt: run.now * 1_000 + sequence,
        topic: fill(message.topic, run),
        payload: payloadOf(message, run),
        qos: 1,
        retain: message.retain ?? false,
        clientId: one.id,
        user: '',
        packetId: 0,
      })
    }
  }
  const outcomes = await recorder.handle(messages)
  const dead = messages.flatMap(({ topic }, i) => {
    const outcome = outcomes[i]
    return typeof outcome === 'object' ? [{ topic, reason: outcome.reason }] : []
  })
  const ids = new Map<string, SeriesId>()
  const series: ShownSeries[] = []
  for (let after: string | undefined, isLast = false; !isLast; isLast = after === undefined) {
    const page = await store.series({ limit: 10_000, after })
    for (const one of page.series) {
      const key = seriesKey(one)
      ids.set(key, one)
      const tags = Object.fromEntries(one.tags)
      const unit = mapping.unit(one, tags.topic)
      series.push({ ...one, key, tags, ...(unit !== undefined && { unit }) })
    }
    after = page.next
  }
  const history = once(async (key: string) => {
    const query = { series: ids.get(key) as SeriesId, from: 0, to: (run.now + 900_000) * 1_000, points: 100_000 }
    const { times, values } = await store.history({ ...query, fn: 'last' })
    return times.map((time, i) => [time / 1_000, values[i] as string] as const)
  })
  for (const one of cases) {
    t.same(
      await failuresOf(one, run, { series, dead, described: mapping.knowledge.devices(), history }),
      [],
      `${one.id} (${one.kind})`,
    )
  }
})
