import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { byNumber, CommandEntry } from '../../src/commands/command-entry.js'
import { Lane } from '../../src/commands/lane.js'
import { WaitingTopics } from '../../src/commands/waiting-topics.js'
import { isTopicFilter, matches } from '../../src/topics.js'
import { request, type TestClocks, TestDevice, testCommands } from '../fixtures/commands.js'
import { disk } from '../fixtures/failing-disk.js'
import { Random } from '../fixtures/packets.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const hour = 3_600_000

/** Commands with one that was sent to a device, which does not acknowledge. */
async function sentWithoutPuback() {
  const device = new TestDevice()
  device.acknowledges = false
  const commands = testCommands(await tempDir(), device)
  await commands.start()
  device.come(commands)
  const { id } = await commands.send(request('a'))
  await eventually(() => device.got.length === 1, 'it is sent')
  return { device, commands, id }
}

t.test('topics that wait are found by filters as topics are by subscriptions', async t => {
  const seed = Number(process.env.COMMANDS_SEED ?? Math.floor(Math.random() * 1e6))
  t.comment(`COMMANDS_SEED=${seed} repeats this`)
  const random = new Random(seed)
  const level = () => random.pick(['a', 'b', 'c', '$x', ''])
  for (let round = 0; round < 300; round++) {
    const waiting = new WaitingTopics<string>()
    const topics = new Set<string>()
    for (let n = random.below(30); n > 0; n--) {
      const topic = Array.from({ length: 1 + random.below(4) }, level).join('/')
      if (random.chance(25)) {
        waiting.remove(topic, topic)
        topics.delete(topic)
      } else {
        waiting.add(topic, topic)
        topics.add(topic)
      }
    }
    const filter = Array.from({ length: 1 + random.below(4) }, () => random.pick(['a', 'b', '+', '#', '$x'])).join('/')
    if (!isTopicFilter(filter)) continue
    t.same([...waiting.match(filter)].sort(), [...topics].filter(topic => matches(filter, topic)).sort(), filter)
    t.equal(waiting.size, topics.size)
  }
})

t.test('a clock that jumps neither fires nor expires a command', async t => {
  const dir = await tempDir()
  const clocks: TestClocks = { wall: Date.UTC(2026, 5, 1), monotonic: 1_000 }
  const device = new TestDevice()
  const commands = testCommands(dir, device, {}, clocks)
  await commands.start()
  const { id } = await commands.send(request('a', { expiryMs: hour }))
  clocks.wall += 30 * 24 * hour
  await sleep(500)
  t.equal(commands.find(id)?.state, 'queued', 'the wall clock is set forward: no time has passed')
  clocks.wall -= 60 * 24 * hour
  clocks.monotonic += hour - 1
  device.come(commands)
  await eventually(() => commands.find(id)?.state === 'delivered', 'it is sent in its last moment')
  t.equal(device.got[0]?.expiresAt, (clocks.wall + 1) * 1_000, 'with what is left')
  device.leave()
  const late = await commands.send(request('b', { expiryMs: hour }))
  clocks.monotonic += hour
  device.come(commands)
  await eventually(() => commands.find(late.id)?.isOver, 'it is over')
  t.match([commands.find(late.id)?.state, device.got.length], ['expired', 1])
  await commands.stop()
})

t.test('after a restart the wall clock counts, if it is set', async t => {
  const dir = await tempDir()
  const clocks: TestClocks = { wall: Date.UTC(2026, 5, 1), monotonic: 1_000 }
  const first = testCommands(dir, new TestDevice(), {}, clocks)
  await first.start()
  const short = await first.send(request('short', { expiryMs: hour }))
  const long = await first.send(request('long', { expiryMs: 10 * hour }))
  await first.stop()

  // A machine without a battery, five hours later: the hub counts on from the latest time it knows.
  const device = new TestDevice()
  const unset: TestClocks = { wall: 0, monotonic: 0 }
  const clock = { now: () => (unset.wall > 0 ? unset.wall : clocks.wall + unset.monotonic) * 1_000 }
  const second = testCommands(dir, device, { clock }, unset)
  await second.start()
  device.come(second)
  await sleep(300)
  t.equal(device.got.length, 0, 'nobody knows how late it is')
  unset.wall = clocks.wall + 5 * hour
  await eventually(() => second.find(long.id)?.state === 'delivered', 'the long one is sent')
  await eventually(() => second.find(short.id)?.state === 'expired', 'the short one never')
  t.same(
    device.got.map(({ payload }) => payload),
    ['long'],
  )
  await second.stop()
})

t.test('commands for a device are sent in order, as it has room, and each once', async t => {
  const device = new TestDevice()
  device.acknowledges = false
  const commands = testCommands(await tempDir(), device)
  await commands.start()
  const ids: string[] = []
  for (let n = 0; n < 500; n++) ids.push((await commands.send(request(String(n)))).id)
  device.come(commands)
  let acknowledged = 0
  while (acknowledged < 500) {
    await eventually(() => device.got.length > acknowledged, 'the next ones')
    t.ok(device.got.length - acknowledged <= device.room, 'no more than it takes')
    for (; acknowledged < device.got.length; acknowledged++) device.got[acknowledged]?.acknowledge()
  }
  t.same(
    device.got.map(({ payload }) => Number(payload)),
    ids.map((_, n) => n),
  )
  t.notOk(device.got.some(({ dup }) => dup))
  await eventually(() => commands.open === 0, 'all are over')
  await commands.stop()
})

t.test('100,000 commands of one user are bounded, and hold nobody up', async t => {
  const device = new TestDevice()
  const commands = testCommands(await tempDir(), device, { perUser: 1_000 })
  await commands.start()
  const results = await Promise.allSettled(
    Array.from({ length: 100_000 }, (_, n) => commands.send(request(String(n), { user: 'anna' }))),
  )
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 1_000)
  t.ok(results.every(one => one.status === 'fulfilled' || one.reason.code === 'too_many'))
  const other = await commands.send(request('other', { user: 'bob' }))
  t.equal(other.state, 'queued')
  device.room = 1_000
  device.come(commands)
  await eventually(() => commands.open === 0, 'all are delivered')
  await commands.stop()
})

t.test('two requests with one key are one command, also when they come together', async t => {
  const dir = await tempDir()
  const commands = testCommands(dir, new TestDevice())
  await commands.start()
  const [one, other] = await Promise.all([
    commands.send(request('a', { key: 'k' })),
    commands.send(request('a', { key: 'k' })),
  ])
  t.equal(one.id, other.id)
  await t.rejects(commands.send(request('b', { key: 'k' })), { code: 'key_reused' })
  t.not((await commands.send(request('a', { key: 'k', user: 'anna' }))).id, one.id, 'each user has keys of its own')
  await commands.stop()
  const again = testCommands(dir, new TestDevice())
  await again.start()
  t.match(await again.send(request('a', { key: 'k' })), { id: one.id, isRepeated: true }, 'also after a restart')
  await again.stop()
})

t.test('cancelled while it is on its way: not sent again, and a late PUBACK changes nothing', async t => {
  const { device, commands, id } = await sentWithoutPuback()
  t.match(await commands.cancel(id, 'anna'), { state: 'cancelled', reason: /anna; it was sent before/ })
  device.got[0]?.acknowledge()
  device.leave()
  device.come(commands)
  commands.replied({ id, isGood: true, topic: 'a', payload: Buffer.from('late') })
  await sleep(300)
  t.match(commands.find(id), { state: 'cancelled', answer: undefined })
  t.equal(device.got.length, 1)
  await t.rejects(commands.cancel(id, 'anna'), { code: 'busy' })
  await t.rejects(commands.cancel('nothing', 'anna'), { code: 'not_found' })
  await commands.stop()
})

t.test('an answer that the disk refuses is not acknowledged, and is taken when it comes again', async t => {
  const { dir, files } = await disk(new Random(1))
  const device = new TestDevice()
  const commands = testCommands(dir, device, { files })
  await commands.start()
  device.receivers = () => [{ name: 'device', clientId: 'device', acknowledges: true, canRespond: true, room: 10 }]
  const { id } = await commands.send(request('a'))
  commands.onSubscribed(['#'])
  await eventually(() => commands.find(id)?.state === 'delivered', 'it is delivered')
  const answer = () =>
    new Promise<Error | undefined>(resolve => {
      const client = { id: 'device', name: 'device', user: '', access: undefined }
      const publish = { topic: `$hub/commands/${id}/answer`, payload: Buffer.from('done'), properties: undefined }
      commands.take(client, { ...publish, expiry: -1, dup: false }, resolve)
    })
  files.percent = 100
  t.ok(await answer())
  t.ok(await answer())
  files.percent = 0
  t.notOk(await answer())
  files.off()
  await commands.stop().catch(() => {})
  files.on()
  const again = testCommands(dir, new TestDevice(), { files })
  await again.start()
  t.match(again.find(id), { state: 'answered', answer: { payload: Buffer.from('done') } })
  await again.stop()
})

t.test('a message of a back end is the same command only when it was delivered again', async t => {
  const commands = testCommands(await tempDir(), new TestDevice())
  await commands.start()
  const ask = async (topic: string, isRedelivered: boolean, leftMs: number) => {
    const expiresAt = (Date.UTC(2026, 5, 1) + leftMs) * 1_000
    const reply = { queue: 'replies', correlationId: '1', key: 'replies 1', isRedelivered }
    await commands.asked({ topic, payload: Buffer.from('on'), expiresAt, reply })
    return commands.list(() => true, 100).length
  }
  t.equal(await ask('lamp/set', false, 60_000), 1)
  t.equal(await ask('lamp/set', true, 50_000), 1, 'delivered again, with less time left')
  t.equal(await ask('lamp/set', false, 60_000), 2, 'the id and the body of an old one, in a new message')
  t.equal(await ask('plug/set', true, 60_000), 3, 'another topic')
  await commands.stop()
})

t.test('a lane keeps the order of the numbers, and each command once', async t => {
  const seed = Number(process.env.COMMANDS_SEED ?? Math.floor(Math.random() * 1e6))
  t.comment(`COMMANDS_SEED=${seed} repeats this`)
  const random = new Random(seed)
  const entries = Array.from({ length: 3_000 }, (_, number) => {
    const about = { number, askedAt: 0, key: undefined, body: undefined, asker: '', replyTo: undefined }
    return CommandEntry.asked(request('a'), hour, about)
  })
  const lane = new Lane()
  const model = new Set<CommandEntry>()
  const first = () => [...model].sort(byNumber)[0]
  for (const entry of entries) {
    lane.add(entry)
    model.add(entry)
  }
  for (let round = 0; round < 3_000; round++) {
    if (random.chance(70)) {
      const entry = lane.take()
      if (entry !== first()) t.fail('another one comes first')
      if (entry) model.delete(entry)
    } else {
      const entry = random.pick(entries)
      lane.add(entry)
      model.add(entry)
    }
  }
  const left: CommandEntry[] = []
  for (let entry = lane.take(); entry; entry = lane.take()) left.push(entry)
  t.same(
    left.map(({ subject }) => subject.number),
    [...model].sort(byNumber).map(({ subject }) => subject.number),
  )
})

t.test(
  'commands that a device has left without PUBACK go before those that have waited, however often it subscribes',
  async t => {
    const device = new TestDevice()
    device.acknowledges = false
    device.room = 20
    const commands = testCommands(await tempDir(), device)
    await commands.start()
    for (let n = 0; n < 50; n++) await commands.send(request(String(n)))
    device.come(commands)
    await eventually(() => device.got.length === 20, 'the first ones')
    for (let n = 0; n < 10; n++) commands.onSubscribed(['#', 'things/+'])
    device.leave()
    device.come(commands)
    device.acknowledges = true
    await eventually(() => commands.open === 0, 'all are delivered')
    t.same(
      device.got.slice(20).map(({ payload }) => Number(payload)),
      Array.from({ length: 50 }, (_, n) => n),
    )
    t.same(
      device.got.slice(20).map(({ dup }) => dup),
      Array.from({ length: 50 }, (_, n) => n < 20),
    )
    await commands.stop()
  },
)

t.test('a command whose receiver has left goes to another one that is there', async t => {
  const { device, commands, id } = await sentWithoutPuback()
  device.leave()
  device.isThere = true
  device.name = 'another'
  await eventually(() => device.got.length === 2, 'nobody has subscribed')
  t.equal(device.got[1]?.dup, true)
  device.got[1]?.acknowledge()
  await eventually(() => commands.find(id)?.state === 'delivered', 'it is there')
  await commands.stop()
})

t.test('commands of a user removed while the hub was down are cancelled', async t => {
  const dir = await tempDir()
  const first = testCommands(dir, new TestDevice())
  await first.start()
  const gone = await first.send(request('a', { user: 'anna' }))
  const stays = await first.send(request('b', { user: 'bob' }))
  await first.stop()
  const device = new TestDevice()
  let asked = 0
  const access = (user: string) => {
    asked++
    return { mayPublish: () => user !== 'anna' } as never
  }
  device.isThere = true
  const second = testCommands(dir, device, { authority: { access } })
  await second.start()
  await eventually(() => second.open === 0, 'both are over')
  t.match(second.find(gone.id), { state: 'cancelled', sends: 0 })
  t.match(second.find(stays.id), { state: 'delivered' })
  t.equal(asked, 2)
  await second.stop()
})
