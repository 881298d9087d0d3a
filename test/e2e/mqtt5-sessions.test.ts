import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  type ConnectOptions,
  open5,
  openRaw,
  propertiesOf,
  publishOf,
  RawClient,
  type ReceivedPublish,
} from '../clients/raw-mqtt.js'
import { eventually, history, metric, type RunningHub, startHub } from '../harness.js'

/*
 * How long things live in MQTT 5: sessions, wills that wait, messages that expire. The times are short, and what is to
 * happen is waited for; that it has not happened too soon is what is asserted of them.
 */

const messageExpiry = 0x02
/** Seconds that a message still has, as it says; undefined when it says nothing. */
const remaining = (packet: ReceivedPublish) => propertiesOf(packet).find(([id]) => id === messageExpiry)?.[1]
const texts = (packets: readonly ReceivedPublish[]) => packets.map(({ payload }) => String(payload))
const keeps = (seconds: number) => ({ properties: { sessionExpiryInterval: seconds } })
const expiring = (seconds: number) => ({ properties: { messageExpiryInterval: seconds } })
const forever = 0xffffffff

/** A will that waits for so many seconds. */
const will = (
  topic: string,
  delay?: number,
  more: ConnectOptions['will'] extends infer W ? Partial<W> : never = {},
) => ({
  will: {
    topic,
    payload: Buffer.from(topic),
    qos: 1 as const,
    retain: false,
    ...(delay !== undefined && { properties: { willDelayInterval: delay } }),
    ...more,
  },
})

const hub = await startHub(t)
const publisher = await open5(t, hub, { clientId: 'publisher' })
let messages = 0

/** Published and acknowledged. */
async function publish(topic: string, text: string, more: Parameters<typeof publishOf>[4] = {}): Promise<void> {
  const messageId = 1 + (messages++ % 60_000)
  publisher.send(publishOf(topic, text, 1, messageId, more))
  await publisher.until('puback')
}

/** What this server has been told is on its disk: this answer waits for the journal of the sessions. */
async function settle(t: Test, server: RunningHub): Promise<void> {
  const witness = await open5(t, server, { clientId: 'witness', ...keeps(60) })
  await witness.subscribe({ witness: 1 })
  await witness.cut()
}

type Leaving = (client: RawClient, again: () => Promise<RawClient>) => Promise<RawClient>
const then = (end: (client: RawClient) => Promise<void>): Leaving => {
  return async (client, again) => {
    await end(client)
    return again()
  }
}
/** How a connection ends, and how long its session is kept after it when it was to be so long. */
const leavings: readonly (readonly [name: string, leave: Leaving, kept: (asked: number) => number | undefined])[] = [
  ['cut off', then(client => client.cut()), asked => asked],
  ['DISCONNECT', then(client => client.leave()), asked => asked],
  ['DISCONNECT with will', then(client => client.leave(0x04)), asked => asked],
  ['DISCONNECT that shortens to none', then(client => client.leave(0, 0)), () => 0],
  // From none to some is an error, as the reason codes show.
  ['DISCONNECT that lengthens', then(client => client.leave(0, forever)), asked => (asked === 0 ? undefined : forever)],
  [
    'taken over',
    async (client, again) => {
      const next = await again()
      await client.gone()
      return next
    },
    asked => asked,
  ],
]

t.test('clean start × session expiry × the way to leave: what there is to come back to', async t => {
  let n = 0
  for (const asked of [undefined, 0, 60, forever]) {
    for (const [name, leave, kept] of leavings) {
      const lives = kept(asked ?? 0)
      if (lives === undefined) continue
      for (const clean of [false, true]) {
        const clientId = `matrix-${n++}`
        const options = { clientId, clean, ...(asked !== undefined && keeps(asked)) }
        const first = await open5(t, hub, options)
        t.equal(first.sessionPresent, false)
        await first.subscribe({ [clientId]: 1 })
        await publish(clientId, 'unacknowledged')
        const [sent] = await first.publishes()
        const second = await leave(first, () => open5(t, hub, { clientId, clean, ...keeps(60) }))
        const what = `session expiry ${asked}, ${name}, clean start ${clean}`
        const resumed = lives > 0 && !clean
        t.equal(second.sessionPresent, resumed, `${what} [MQTT-3.2.2-2] [MQTT-3.2.2-3]`)
        const again = await second.publishes()
        t.same(
          again.map(({ messageId, dup }) => [messageId, dup]),
          resumed ? [[sent?.messageId, true]] : [],
          `${what}: what was not acknowledged [MQTT-4.4.0-1]`,
        )
        await publish(clientId, 'later')
        t.same(texts(await second.publishes()), resumed ? ['later'] : [], `${what}: the subscription [MQTT-3.1.2-4]`)
        await second.cut()
      }
    }
  }
})

t.test('a session of 3.1.1 is one of MQTT 5, and the reverse', async t => {
  const old = (clientId: string) => openRaw(t, hub, { clientId, clean: false })
  const five = (clientId: string, seconds: number) => open5(t, hub, { clientId, clean: false, ...keeps(seconds) })
  const from5 = await five('changes', 60)
  await from5.subscribe({ 'changes/#': 2 })
  await from5.leave()
  const properties = { userProperties: { a: 'b' }, contentType: 'text/plain' }
  await publish('changes/x', 'one', { properties })
  await publish('changes/x', 'two', { properties })
  const in4 = await old('changes')
  t.equal(in4.sessionPresent, true)
  const [one, two] = await in4.publishes()
  t.equal(one?.bytes.toString('hex'), `32100009${Buffer.from('changes/x').toString('hex')}${hex16(one)}6f6e65`)
  t.match(two, { payload: Buffer.from('two') })
  if (one) in4.ack('puback', one)
  await in4.cut()
  const back = await five('changes', 60)
  t.equal(back.sessionPresent, true)
  const [again, more] = await back.publishes()
  t.match(again, {
    payload: Buffer.from('two'),
    dup: true,
    messageId: two?.messageId,
    properties: { contentType: 'text/plain' },
  })
  t.equal(more, undefined)
  await back.leave(0, 0)
  t.equal((await old('changes')).sessionPresent, false, 'MQTT 5 has ended it')

  const from4 = await old('older')
  await from4.subscribe({ 'older/#': 1 })
  await from4.leave()
  await publish('older/x', 'queued')
  const in5 = await five('older', 0)
  t.equal(in5.sessionPresent, true, 'that of 3.1.1 is kept')
  t.same(texts(await in5.take(1)), ['queued'])
  await in5.leave()
  t.equal((await old('older')).sessionPresent, false, 'and ends with a session expiry of 0')

  const short = await five('lengthens', 1)
  await short.leave()
  await (await old('lengthens')).leave()
  await sleep(1_800)
  const longer = await old('lengthens')
  t.equal(longer.sessionPresent, true, 'clean session 0 of 3.1.1 keeps it for good')
  await longer.leave()
  const clean = await openRaw(t, hub, { clientId: 'lengthens', clean: true })
  t.equal(clean.sessionPresent, false)
  await clean.leave()
  t.equal((await five('lengthens', 60)).sessionPresent, false)
})

const hex16 = (packet: ReceivedPublish | undefined) => (packet?.messageId ?? 0).toString(16).padStart(4, '0')

t.test('a session ends when its time is over, bounded by limits.sessionAge, and not while it is used', async t => {
  const hub = await startHub(t, { 'limits.sessionAge': '2s' })
  const subscriptions = () => metric(hub, 'telehub_subscriptions')
  const used = await open5(t, hub, { clientId: 'used', ...keeps(1) })
  await used.subscribe({ used: 1 })
  const leaving = [
    ['one', { ...keeps(1) }, 1],
    ['bounded', { ...keeps(1_000) }, 2],
    ['ever', { ...keeps(forever) }, 2],
    ['lengthened', { ...keeps(1) }, 2],
  ] as const
  await Promise.all(
    leaving.map(async ([clientId, options]) => {
      const client = await open5(t, hub, { clientId, ...options })
      await client.subscribe({ [clientId]: 1 })
      await (clientId === 'lengthened' ? client.leave(0, 1_000) : client.leave())
    }),
  )
  const startedAt = performance.now()
  await eventually(async () => (await subscriptions()) <= 4, 'the first has ended')
  t.ok(performance.now() - startedAt > 800, 'not sooner')
  await eventually(async () => (await subscriptions()) === 1, 'all have ended')
  t.ok(performance.now() - startedAt > 1_800, 'not sooner')
  for (const [clientId] of leaving) {
    t.equal((await open5(t, hub, { clientId, clean: false })).sessionPresent, false, `${clientId} [MQTT-4.1.0-2]`)
  }
  await used.ping()
})

t.test('SIGKILL: sessions go on being kept, and their time goes on', async t => {
  const first = await startHub(t)
  for (const [clientId, seconds] of [
    ['short', 2],
    ['long', 60],
    ['none', 0],
    ['here', 2],
  ] as const) {
    const client = await open5(t, first, { clientId, ...keeps(seconds) })
    await client.subscribe({ [`kept/${clientId}`]: 1 })
    if (clientId !== 'here') await client.leave()
  }
  const changed = await open5(t, first, { clientId: 'changed', ...keeps(60) })
  await changed.subscribe({ 'kept/changed': 1 })
  await changed.leave(0, 1)
  await settle(t, first)
  await first.kill()
  await sleep(2_200)
  const second = await startHub(t, {}, first.dir)
  // Those whose time went by while there was no hub are gone before anybody can ask for them.
  for (const [clientId, present] of [
    ['short', false],
    ['changed', false],
    ['none', false],
    ['long', true],
  ] as const) {
    const back = await open5(t, second, { clientId, clean: false, ...keeps(60) })
    t.equal(back.sessionPresent, present, clientId)
    await back.leave()
  }
  // Of one that was connected the time begins no later than the new hub does. Left are the long one and the witness.
  await eventually(async () => (await metric(second, 'telehub_subscriptions')) <= 2, 'it ends')
  t.equal((await open5(t, second, { clientId: 'here', clean: false })).sessionPresent, false)
})

t.test('a will waits for its delay, or for the end of its session, or is not needed any more', async t => {
  const watcher = await open5(t, hub, { clientId: 'heirs' })
  await watcher.subscribe({ 'will/#': 1 })
  const got = new Map<string, number>()
  watcher.handle = packet => {
    if (packet.cmd !== 'publish') return false
    const text = String(packet.payload)
    got.set(text, got.has(text) ? Number.NaN : performance.now())
    watcher.ack('puback', packet)
    return true
  }
  const dies = async (name: string, delay: number | undefined, seconds: number, how?: 'polite' | 'with will') => {
    const client = await open5(t, hub, { clientId: name, ...will(`will/${name}`, delay), ...keeps(seconds) })
    await (how === 'polite' ? client.leave() : how === 'with will' ? client.leave(0x04) : client.cut())
    return performance.now()
  }
  const back = (clientId: string, clean: boolean, more: ConnectOptions = {}) =>
    open5(t, hub, { clientId, clean, ...keeps(60), ...more })
  const comes = async (name: string, from: number, least: number) => {
    const at = await eventually(() => got.get(`will/${name}`), `the will of ${name}`)
    t.ok(at - from >= least * 1_000 - 50, `${name}: after ${(at - from).toFixed()} ms, once`)
  }
  await Promise.all([
    dies('at once', undefined, 60).then(from => comes('at once', from, 0)),
    dies('in a second', 1, 60).then(from => comes('in a second', from, 1)),
    dies('when its session ends', 60, 1).then(from => comes('when its session ends', from, 1)),
    dies('without a session', 60, 0).then(from => comes('without a session', from, 0)),
    dies('says so', undefined, 60, 'with will').then(from => comes('says so', from, 0)),
    dies('says so and waits', 1, 60, 'with will').then(from => comes('says so and waits', from, 1)),
    dies('begins anew', 60, 60).then(async from => {
      await back('begins anew', true)
      await comes('begins anew', from, 0)
    }),
    dies('shortens', 60, 60).then(async () => {
      const from = performance.now()
      const client = await open5(t, hub, {
        clientId: 'shortens',
        clean: false,
        ...keeps(60),
        ...will('will/shortens', 60),
      })
      await client.leave(0x04, 1)
      await comes('shortens', from, 1)
    }),
    (async () => {
      const first = await open5(t, hub, { clientId: 'replaced', ...keeps(60), ...will('will/replaced') })
      const from = performance.now()
      await back('replaced', false)
      await first.gone()
      await comes('replaced', from, 0)
    })(),
  ])

  // What is not to come. [MQTT-3.1.3-9] [MQTT-3.14.4-3]
  await dies('polite', 1, 60, 'polite')
  await dies('polite at once', undefined, 0, 'polite')
  await dies('returns', 3, 60)
  const returned = await back('returns', false)
  const taken = await open5(t, hub, { clientId: 'waits', ...keeps(60), ...will('will/waits', 1) })
  const taker = await back('waits', false)
  await taken.gone()
  await dies('returns and ends', 60, 60)
  // Had its will been kept, it would be due now that the session ends.
  await (await back('returns and ends', false)).leave(0, 0)
  await sleep(3_600)
  await watcher.ping()
  for (const name of ['polite', 'polite at once', 'returns', 'waits', 'returns and ends']) {
    t.notOk(got.has(`will/${name}`), `${name}: none`)
  }
  await Promise.all([returned.ping(), taker.ping()])
  t.same(
    [...got].filter(([, at]) => Number.isNaN(at)),
    [],
    'none comes twice',
  )
})

t.test('SIGKILL: a will that waits comes all the same, once; and not when its client came back', async t => {
  const first = await startHub(t)
  // It is away when they come: they wait for it, however soon the second hub publishes them.
  const heirs = { clientId: 'heirs', clean: false, ...keeps(60) }
  const heir = await open5(t, first, heirs)
  await heir.subscribe({ 'will/#': 1 })
  await heir.leave()
  for (const name of ['due', 'returns', 'connected']) {
    const delay = name === 'due' ? 3 : name === 'returns' ? 60 : 1
    const client = await open5(t, first, { clientId: name, ...keeps(60), ...will(`will/${name}`, delay) })
    if (name !== 'connected') await client.cut()
  }
  await settle(t, first)
  await first.kill()
  const second = await startHub(t, {}, first.dir)
  const watcher = new RawClient(t, second.mqttUrl, 5)
  const got = watcher.collect()
  await watcher.connect(heirs)
  const back = await open5(t, second, { clientId: 'returns', clean: false, ...keeps(60) })
  t.equal(back.sessionPresent, true)
  await back.leave(0, 0)
  await eventually(() => got.length >= 2, 'both wills')
  t.same(texts(got).sort(), ['will/connected', 'will/due'])
  await settle(t, second)
  await second.kill()
  const third = await startHub(t, {}, first.dir)
  const late = await open5(t, third, heirs)
  t.equal(late.sessionPresent, true)
  await sleep(1_200)
  t.same(
    (await late.publishes()).filter(({ dup }) => !dup),
    [],
    'not again',
  )
})

t.test('a message that has expired is delivered from nowhere; one that has not says how long it still has', async t => {
  const absent = { clientId: 'absent', clean: false, ...keeps(60) }
  const first = await open5(t, hub, absent)
  await first.subscribe({ 'queued/#': 1 })
  await first.leave()
  const old = { clientId: 'absent-4', clean: false }
  const first4 = await openRaw(t, hub, old)
  await first4.subscribe({ 'queued/#': 1 })
  await first4.leave()
  const holds = await open5(t, hub, { clientId: 'holds', ...keeps(60) })
  await holds.subscribe({ 'queued/#': 2 })
  const full = await open5(t, hub, { clientId: 'full', properties: { receiveMaximum: 1 } })
  await full.subscribe({ 'queued/#': 1 })

  await publish('queued/first', 'first')
  await publish('queued/soon', 'soon', expiring(2))
  await publish('queued/later', 'later', expiring(100))
  await publish('retained/soon', 'soon', { ...expiring(2), retain: true })
  await publish('retained/later', 'later', { ...expiring(100), retain: true })
  await publish('expired', '7', expiring(1))
  const zero = await open5(t, hub)
  const mortal = will('retained/will', undefined, { retain: true, properties: { messageExpiryInterval: 2 } })
  await (await open5(t, hub, { clientId: 'mortal', ...mortal })).cut()
  const held = await holds.publishes()
  t.same(texts(held), ['first', 'soon', 'later'])
  const [none, few, many] = held.map(remaining) as number[]
  t.equal(none, undefined)
  t.ok(few === 1 || few === 2, `${few} of 2 s are left`)
  t.ok(Number(many) <= 100 && Number(many) > 60, `${many} of 100 s are left`)
  const [waits] = await full.publishes()
  t.match(waits, { payload: Buffer.from('first') })
  await holds.cut()
  await sleep(2_600)

  const back = await open5(t, hub, absent)
  const queued = await back.take(2)
  t.same(texts(queued), ['first', 'later'], 'queued [MQTT-3.3.2-5]')
  const left = remaining(queued[1] as ReceivedPublish) as number
  t.ok(left <= 98 && left > 60, `${left} s are left [MQTT-3.3.2-6]`)
  t.same(texts(await (await openRaw(t, hub, old)).publishes()), ['first', 'later'], 'queued for 3.1.1')
  if (waits) full.ack('puback', waits)
  t.same(texts(await full.publishes()), ['later'], 'behind receive maximum')
  const resumed = await open5(t, hub, { clientId: 'holds', clean: false, ...keeps(60) })
  const again = await resumed.publishes()
  t.same(texts(again), ['first', 'later'], 'sent before, and not acknowledged')
  t.ok((remaining(again[1] as ReceivedPublish) as number) <= 98)

  await zero.subscribe({ 'retained/#': 1 })
  const retained = await zero.publishes()
  t.same(texts(retained), ['later'], 'retained, and a will that is')
  t.ok((remaining(retained[0] as ReceivedPublish) as number) <= 98)
  await eventually(
    async () => (await history(hub, 'expired,topic=expired value')).length === 1,
    'what has expired is stored all the same',
  )
})

t.test('SIGKILL: messages expire while there is no hub', async t => {
  const first = await startHub(t)
  const absent = { clientId: 'absent', clean: false, ...keeps(60) }
  const session = await open5(t, first, absent)
  await session.subscribe({ 'queued/#': 2 })
  await session.leave()
  const sender = await open5(t, first)
  const send = async (topic: string, seconds: number | undefined, retain: boolean) => {
    const more = seconds === undefined ? {} : expiring(seconds)
    sender.send(publishOf(topic, `${seconds}`, 1, 1, { retain, ...more }))
    await sender.until('puback')
  }
  for (const seconds of [undefined, 1, 100]) {
    await send('queued/x', seconds, false)
    await send(`retained/${seconds}`, seconds, true)
  }
  await settle(t, first)
  await first.kill()
  await sleep(1_500)
  const second = await startHub(t, {}, first.dir)
  const back = await open5(t, second, absent)
  t.equal(back.sessionPresent, true)
  const queued = await back.publishes()
  t.same(texts(queued), ['undefined', '100'])
  await back.subscribe({ 'retained/#': 1 })
  const retained = await back.publishes()
  t.same(texts(retained).sort(), ['100', 'undefined'])
  for (const packet of [...queued, ...retained]) {
    const left = remaining(packet)
    if (String(packet.payload) === '100')
      t.ok(typeof left === 'number' && left <= 99 && left > 60, `${left} s are left`)
    else t.equal(left, undefined)
  }
})
