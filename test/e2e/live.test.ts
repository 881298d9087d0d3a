import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { makeKey } from '../../src/users/users.js'
import { EventStream } from '../clients/event-stream.js'
import { usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, metric, type RunningHub, startHub } from '../harness.js'

interface ReadingEvent {
  readonly sequence: number
  readonly time: number
  readonly values: readonly {
    readonly series: string
    readonly value: unknown
    readonly time?: number
    readonly earlier?: { readonly times: readonly number[]; readonly values: readonly unknown[] }
  }[]
}

interface HistoryEvent {
  readonly series: string
  readonly times: readonly number[]
  readonly values: readonly unknown[]
}

/** One receiver, over as many connections as it takes, and the readings that it has been told. */
class Receiver {
  readonly #query: string
  /** Value by time, by series. */
  readonly told = new Map<string, Map<number, unknown>>()
  /** Readings that came twice: as live events, or in the history and as a live event. */
  readonly twice: string[] = []
  gaps = 0
  readonly #events = new Set<string>()
  #stream: EventStream | undefined
  #taken = 0

  constructor(query: string) {
    this.#query = query
  }

  open(hub: RunningHub): void {
    const last = this.#stream?.lastId
    this.close()
    this.#taken = 0
    this.#stream = new EventStream(`${hub.httpUrl}/api/live?${this.#query}`, {
      ...asAdmin(hub.dir),
      ...(last && { 'last-event-id': last }),
    })
    if (last) this.#stream.lastId = last
    else {
      // A feed that broke before its first reading begins anew.
      this.told.clear()
      this.#events.clear()
      this.twice.length = 0
    }
  }

  close(): void {
    this.take()
    this.#stream?.close()
  }

  pause(): void {
    this.#stream?.pause()
  }

  resume(): void {
    this.#stream?.resume()
  }

  get isReady(): boolean {
    return this.#stream?.events.some(({ event }) => event === 'ready') === true
  }

  take(): void {
    const { events = [] } = this.#stream ?? {}
    for (; this.#taken < events.length; this.#taken++) {
      const { event, data } = events[this.#taken] as (typeof events)[number]
      if (event === 'gap') this.gaps++
      if (event === 'history') {
        const { series, times, values } = JSON.parse(data) as HistoryEvent
        for (const [i, time] of times.entries()) this.#tell(series, time, values[i])
      }
      if (event !== 'live') continue
      const reading = JSON.parse(data) as ReadingEvent
      for (const { series, value, time = reading.time, earlier } of reading.values) {
        const id = `${reading.sequence} ${series}`
        if (this.#events.has(id)) this.twice.push(id)
        this.#events.add(id)
        this.#tell(series, time, value)
        for (const [i, at] of earlier?.times.entries() ?? []) this.#tell(series, at, earlier?.values[i])
      }
    }
  }

  #tell(series: string, time: number, value: unknown): void {
    let values = this.told.get(series)
    if (!values) {
      values = new Map()
      this.told.set(series, values)
    }
    if (values.has(time)) this.twice.push(`${series} ${time}`)
    values.set(time, value)
  }
}

function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

const topics = ['home/kitchen/a/telemetry', 'home/kitchen/b/telemetry', 'home/hall/a/telemetry', 'plant/line1/press']

/** Publishes random readings, some late and some of several instants, until told to stop. Each has a time of its own. */
class Source {
  readonly #random: () => number
  #time = Date.now() - 3_600_000
  /** Times of the readings whose message was acknowledged: these are stored in the end. */
  readonly acknowledged: number[] = []
  #running = true

  constructor(random: () => number) {
    this.#random = random
  }

  async run(t: Test, hub: RunningHub): Promise<void> {
    this.#running = true
    const client = await connectMqtt(t, hub.mqttUrl, { clientId: 'source' })
    let isGone = false
    const gone = new Promise<void>(resolve =>
      client.once('close', () => {
        isGone = true
        resolve()
      }),
    )
    while (this.#running && !isGone) {
      const topic = topics[Math.floor(this.#random() * topics.length)] as string
      const sample = () => {
        this.#time += 7
        // A late reading is older than others that are known already, but later than the beginning of the history.
        const time = this.#random() < 0.2 ? this.#time - 1_800_000 : this.#time
        return { time, level: Math.floor(this.#random() * 1_000) }
      }
      const payload = this.#random() < 0.1 ? [sample(), sample(), sample()] : sample()
      const published = client.publishAsync(topic, JSON.stringify(payload), { qos: 1 }).then(() => {
        this.acknowledged.push(...[payload].flat().map(({ time }) => time))
      })
      await Promise.race([published, gone])
    }
    await client.endAsync(true).catch(() => {})
  }

  stop(): void {
    this.#running = false
  }
}

async function stored(hub: RunningHub): Promise<Map<string, Map<number, unknown>>> {
  const { body } = await hub.get<{ series: { key: string }[] }>('/api/series')
  const all = new Map<string, Map<number, unknown>>()
  for (const { key } of body.series) {
    const query = new URLSearchParams({ series: key, from: '0', to: '4102444800000', points: '100000' })
    const { body } = await hub.get<{ times: number[]; values: unknown[] }>(`/api/history?${query}`)
    all.set(key, new Map(body.times.map((time, i) => [time, body.values[i]])))
  }
  return all
}

const seed = Number(process.env.MODEL_SEED ?? Math.floor(Math.random() * 2 ** 31))

t.test(`history and live join without a gap and without a duplicate, over kills (MODEL_SEED=${seed})`, async t => {
  const random = randomOf(seed)
  let hub = await startHub(t)
  const source = new Source(random)
  const filters = [
    'topic=%23',
    'topic=home/%2B/%2B/telemetry',
    'topic=plant/%23&topic=home/hall/%23',
    'topic=home/kitchen/a/telemetry',
  ]
  const receivers: Receiver[] = []
  for (let round = 0; round < 3; round++) {
    const publishing = source.run(t, hub)
    for (const receiver of receivers) receiver.open(hub)
    for (let step = 0; step < 12; step++) {
      await sleep(20 + random() * 120)
      const some = receivers[Math.floor(random() * receivers.length)]
      if (receivers.length < 4 * (round + 1) || !some) {
        const receiver = new Receiver(`${filters[receivers.length % filters.length]}&history=2h&points=10000`)
        receiver.open(hub)
        receivers.push(receiver)
      } else if (random() < 0.5) some.open(hub)
      else {
        some.pause()
        setTimeout(() => some.resume(), 100)
      }
    }
    if (round < 2) {
      await hub.kill()
      hub = await startHub(t, {}, hub.dir)
    } else source.stop()
    await publishing
  }
  const known = await eventually(async () => {
    const found = await stored(hub)
    for (const receiver of receivers) receiver.take()
    // The readings that the receivers were told last may not be stored yet.
    const isStored = ([series, values]: readonly [string, ReadonlyMap<number, unknown>]) =>
      [...values.keys()].every(time => found.get(series)?.has(time))
    const times = new Set([...found.values()].flatMap(values => [...values.keys()]))
    const isAllStored = source.acknowledged.every(time => times.has(time))
    return isAllStored && receivers.every(({ told }) => [...told].every(isStored)) && found
  }, 'everything stored')
  t.ok(known.size >= 4, `${known.size} series, ${source.acknowledged.length} readings`)
  const count = [...known.values()].reduce((sum, values) => sum + values.size, 0)
  t.ok(count > 50, `${count} readings`)
  for (const [i, receiver] of receivers.entries()) {
    const filter = filters[i % filters.length] as string
    const isMine = (series: string) =>
      filter === 'topic=%23' ||
      (filter.startsWith('topic=home/%2B') && series.startsWith('telemetry')) ||
      (filter.startsWith('topic=plant') && (series.startsWith('plant') || series.includes('room=hall'))) ||
      (filter.startsWith('topic=home/kitchen/a') && series.includes('device=a,room=kitchen'))
    const mine = new Map([...known].filter(([series]) => isMine(series)))
    const missing = () => {
      receiver.take()
      const lost: string[] = []
      for (const [series, values] of mine) {
        const told = receiver.told.get(series)
        for (const [time, value] of values) if (told?.get(time) !== value) lost.push(`${series} ${time}`)
      }
      return lost
    }
    await eventually(() => missing().length === 0, `receiver ${i} (${filter}) lacks ${missing().slice(0, 3)}`)
    const extra = [...receiver.told].flatMap(([series, values]) =>
      [...values.keys()].filter(time => !mine.get(series)?.has(time)).map(time => `${series} ${time}`),
    )
    t.same(extra, [], `receiver ${i} is told nothing that is not stored`)
    t.same(receiver.twice, [], `receiver ${i} is told nothing twice`)
    t.equal(receiver.gaps, 0)
    receiver.close()
  }
})

t.test('a receiver that does not read ends with the newest value of each topic, and is told', async t => {
  const hub = await startHub(t)
  const client = await connectMqtt(t, hub.mqttUrl)
  const slow = new EventStream(`${hub.httpUrl}/api/live?topic=big/%23`, asAdmin(hub.dir))
  await eventually(() => slow.of('ready').length === 1, 'the feed is ready')
  slow.pause()
  const filler = 'x'.repeat(2_000)
  for (let n = 0; n < 12_000; n += 50) {
    const some = Array.from({ length: 50 }, (_, i) => n + i)
    await Promise.all(some.map(i => client.publishAsync(`big/${i % 20}`, JSON.stringify({ n: i, filler }), { qos: 1 })))
  }
  await eventually(async () => (await metric(hub, 'telehub_feed_merged_total')) > 0, 'events are merged')
  slow.resume()
  await eventually(() => slow.of('caught_up').length > 0, 'the receiver has caught up')
  const behind = JSON.parse(slow.of('behind')[0]?.data ?? '{}') as { behind: number; merged: number }
  t.ok(behind.merged > 0 && behind.behind >= 0, `behind by ${behind.behind} ms, ${behind.merged} merged`)
  const newest = () => {
    const values = new Map<string, number>()
    for (const { data } of slow.of('live')) {
      const { topic, values: all } = JSON.parse(data) as { topic: string; values: { field: string; value: number }[] }
      const value = all.find(({ field }) => field === 'n')?.value ?? -1
      if (value <= (values.get(topic) ?? -1)) throw new Error(`${topic} is out of order`)
      values.set(topic, value)
    }
    return values
  }
  await eventually(
    () => Array.from({ length: 20 }, (_, i) => i).every(i => newest().get(`big/${i}`) === 11_980 + i),
    'the newest value of each topic has come',
  )
  t.ok(slow.of('live').length < 12_000)
  slow.close()
})

t.test('what is asked wrongly is refused with what is allowed', async t => {
  const hub = await startHub(t, { 'limits.feeds': '2' })
  const ask = async (query: string, headers = {}) => {
    const answer = await fetch(`${hub.httpUrl}/api/live?${query}`, { headers: { ...asAdmin(hub.dir), ...headers } })
    return { status: answer.status, ...((await answer.json()) as { error: string; message: string }) }
  }
  t.match(await ask('topic=a%23'), { status: 400, message: /"a#", allowed is a topic filter/ })
  t.match(await ask('topic=a&history=6'), { status: 400, message: /given "6", allowed is a time such as/ })
  t.match(await ask('topic=a&points=0'), { status: 400, message: /points/ })
  t.match(await ask(''), { status: 400, message: /topic/ })
  t.match(await ask('topic=a', { 'last-event-id': 'x' }), { status: 400, message: /Last-Event-ID/ })
  const open = [1, 2].map(() => new EventStream(`${hub.httpUrl}/api/live?topic=a`, asAdmin(hub.dir)))
  for (const stream of open) await eventually(() => stream.of('ready').length === 1, 'ready')
  t.match(await ask('topic=a'), { status: 429, message: /2 open feeds, allowed are 2 \(limits.feeds\)/ })
  for (const stream of open) stream.close()
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 0, 'the feeds are closed')
})

t.test('a stream that is asked for behind an unanswered request is refused, and leaves no feed', async t => {
  const hub = await startHub(t)
  const { hostname, port, host } = new URL(hub.httpUrl)
  const socket = connect(Number(port), hostname)
  t.teardown(() => socket.destroy())
  let text = ''
  socket.on('data', data => {
    text += data
  })
  // Node answers in order: the second stream would wait for the end of the first.
  socket.write(`GET /api/live?topic=a HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(20))
  await eventually(() => text.includes('event: ready'), 'the first stream')
  t.equal(await metric(hub, 'telehub_feeds'), 1)
  socket.destroy()
  await eventually(async () => (await metric(hub, 'telehub_feeds')) === 0, 'no feed is left')
})

t.test('a stream ends when the API key that opened it is removed', async t => {
  const users = await usersFile()
  const { text, key } = makeKey('screen', Date.now())
  await users.add('viewer', ['allow read #'], { kind: 'dashboard' })
  await users.edit(file => file.addKey('viewer', key))
  const hub = await startHub(t, users.settings)
  const stream = new EventStream(`${hub.httpUrl}/api/live?topic=a`, { authorization: `Bearer ${text}` })
  await eventually(() => stream.of('ready').length === 1, 'ready')
  await users.edit(file => file.removeKey('viewer', key.id))
  await eventually(() => stream.isOver, 'the stream ends')
  t.match(stream.of('error')[0]?.data, /unauthorized/)
})
