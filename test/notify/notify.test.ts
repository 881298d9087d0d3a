import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AlertList, type Notified, PublishedList, startNotifications, transition } from '../fixtures/notify.js'
import { Random } from '../fixtures/packets.js'
import { PowerFiles } from '../fixtures/power-files.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const toBus = (more = '') => `
targets:
  bus: { type: mqtt, topic: alerts }
  boss: { type: mqtt, topic: boss }
routes:
  - { targets: bus${more} }
`
const atOnce = toBus(', group: 0s')

/** Alert and state of everything that was published, with repetitions of a message left out. */
function told({ published }: Pick<Notified, 'published'>, topic = 'alerts'): string[] {
  const messages = new Map(published.all.filter(one => one.topic === topic).map(({ message }) => [message.id, message]))
  return [...messages.values()].flatMap(({ alerts }) => alerts.map(({ alert, state }) => `${alert} ${state}`)).sort()
}

async function start(t: Test, ...given: Parameters<typeof startNotifications>): Promise<Notified> {
  const started = await startNotifications(...given)
  t.teardown(() => started.notifications.stop())
  return started
}

t.test('routes by severity and state; what is past, muted or pending is told to nobody', async t => {
  const hub = await start(t, toBus(', group: 0s, severity: [warning, critical], states: [firing, cleared]'))
  hub.raise(
    transition(1),
    transition(2, { severity: 'info' }),
    transition(3, { severity: 'warning' }),
    transition(4, { past: true }),
    transition(5, { muted: true }),
    transition(6, { state: 'pending' }),
    transition(7, { alert: 'alert-1', state: 'acknowledged' }),
    transition(8, { alert: 'alert-1', state: 'cleared' }),
  )
  await eventually(() => told(hub).length === 3, 'three alerts')
  t.same(told(hub), ['alert-1 cleared', 'alert-1 firing', 'alert-3 firing'])
})

t.test('targets that a rule names are told whatever the routes say', async t => {
  const hub = await start(t, toBus(', group: 0s, severity: critical'))
  const own = { severity: 'info', notify: ['boss', 'nobody'] } as const
  hub.raise(
    transition(1, own),
    transition(2, { notify: ['boss'] }),
    transition(3, { ...own, muted: true }),
    transition(4, { ...own, past: true }),
    transition(5, { ...own, alert: 'alert-1', state: 'acknowledged' }),
    transition(6, { ...own, alert: 'alert-1', state: 'cleared' }),
  )
  await eventually(() => told(hub, 'boss').length === 3, 'three alerts')
  t.same(told(hub, 'boss'), ['alert-1 cleared', 'alert-1 firing', 'alert-2 firing'])
  t.same(told(hub), ['alert-2 firing'], 'the routes as before')
  t.ok(hub.log.includes('rule freezer names the target nobody, which notify.file does not have: it is not told'))
})

t.test('alerts within a window are one message, and what it has no room for is counted in it', async t => {
  const hub = await start(t, toBus(', group: 1s'))
  hub.raise(...Array.from({ length: 120 }, (_, i) => transition(i + 1)))
  const { message } = (await eventually(() => hub.published.all[0], 'a message')) as PublishedList['all'][number]
  t.equal(message.alerts.length, 50)
  t.equal(message.more, 70)
  t.match(message.title, /^120 alerts: 50 critical, 70 not listed$/)
  t.equal(hub.published.all.length, 1)
})

t.test('beyond the rate of a target alerts wait, and become one message', async t => {
  const hub = await start(t, atOnce.replace('topic: alerts', 'topic: alerts, rate: 2'))
  for (let n = 1; n <= 20; n++) {
    hub.raise(transition(n))
    await eventually(() => hub.notifications.status()[0], 'a status')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.ok(hub.published.all.length <= 3, `${hub.published.all.length} messages`)
  t.equal(hub.notifications.status()[0]?.waiting, 1)
})

t.test('nobody acknowledges: the next one is told, step by step; an acknowledgement ends that', async t => {
  const plan = toBus(', group: 0s, escalate: [{ after: 1s, to: boss }, { after: 2s, to: [boss, bus] }]')
  const hub = await start(t, plan)
  hub.raise(transition(1), transition(2), transition(3))
  await hub.alerts.acknowledge('alert-2', 'anna')
  hub.raise(transition(5, { alert: 'alert-3', state: 'cleared' }))
  const isOverdue = ({ topic, message }: PublishedList['all'][number]) =>
    topic === 'boss' && message.alerts[0]?.unacknowledgedFor
  const overdue = await eventually(() => {
    const found = hub.published.all.filter(isOverdue)
    return found.length === 2 && found
  }, 'two steps')
  t.same(
    overdue.map(({ message }) => message.alerts.map(({ alert, unacknowledgedFor }) => [alert, unacknowledgedFor])),
    [[['alert-1', 1_000]], [['alert-1', 2_000]]],
  )
})

t.test('the clock of the machine jumps: nothing is told early, and nothing stays', async t => {
  let wall = Date.now()
  const clock = { now: () => wall }
  const hub = await start(t, toBus(', group: 1s, escalate: { after: 3s, to: boss }'), { clock })
  hub.raise(transition(1))
  await eventually(() => hub.notifications.status().some(({ waiting }) => waiting > 0), 'a group')
  wall -= 5 * 3_600_000
  await eventually(() => told(hub).length === 1, 'told although the clock was set back')
  wall += 400 * 864e5
  await new Promise(resolve => setTimeout(resolve, 600))
  t.same(told(hub, 'boss'), [], 'a day of the wall clock is no day')
  await eventually(() => told(hub, 'boss').length === 1, 'escalated after three real seconds')
})

t.test('a file with mistakes leaves the targets as they were, and is an alarm', async t => {
  const hub = await start(t, atOnce)
  const file = join(hub.dir, 'notify.yaml')
  writeFileSync(file, 'targets: { bus: { type: mqtt, topic: a/# } }\nroutes: [{ targets: nobody }]\n')
  await eventually(() => hub.notifications.alarm(), 'an alarm')
  t.match(hub.notifications.alarm(), /notify\.file: .*targets\.bus\.topic.*; .*there is no target nobody/)
  hub.raise(transition(1))
  await eventually(() => told(hub).length === 1, 'told')
  writeFileSync(file, atOnce.replaceAll('topic: alerts', 'topic: elsewhere'))
  await eventually(() => !hub.notifications.alarm(), 'no alarm')
  hub.raise(transition(2))
  await eventually(() => told(hub, 'elsewhere').length === 1, 'told elsewhere')
})

t.test('without a valid file alerts wait for one', async t => {
  const hub = await start(t, 'targets: 7')
  hub.raise(transition(1), transition(2))
  t.match(hub.notifications.alarm(), /notify\.file/)
  writeFileSync(join(hub.dir, 'notify.yaml'), atOnce)
  await eventually(() => told(hub).length === 2, 'told')
})

t.test('a list of transitions that begins anew is read from its beginning', async t => {
  const dir = await tempDir()
  const first = await startNotifications(atOnce, { dir })
  first.raise(...Array.from({ length: 9 }, (_, i) => transition(i + 1)))
  await eventually(() => told(first).length === 9, 'all')
  await first.notifications.stop()
  const second = await start(t, atOnce, { dir })
  second.raise(transition(1, { alert: 'new-1' }), transition(2, { alert: 'new-2' }))
  await eventually(() => told(second).length === 2, 'both')
  second.raise(transition(3, { alert: 'new-3' }))
  await eventually(() => told(second).length === 3, 'the third')
  t.equal(told(first).length, 9, 'and nothing is told twice')
})

t.test('a gap in the list is reported', async t => {
  const hub = await start(t, atOnce)
  hub.raise(transition(8))
  await eventually(() => told(hub).length === 1, 'told')
  t.match(hub.log.join('\n'), /7 changes of alerts were deleted/)
  t.equal(hub.notifications.skipped, 7)
})

t.test('100,000 transitions at once', async t => {
  const hub = await start(t, toBus(', group: 1s'))
  const before = process.memoryUsage().heapUsed
  for (let n = 0; n < 200; n++) {
    hub.raise(...Array.from({ length: 500 }, (_, i) => transition(n * 500 + i + 1, { severity: 'warning' })))
    await new Promise(resolve => setImmediate(resolve))
  }
  const handled = () =>
    hub.published.all.reduce((sum, { message }) => sum + message.alerts.length + (message.more ?? 0), 0)
  await eventually(() => handled() === 100_000, 'all are told of')
  t.ok(hub.published.all.length < 200, `${hub.published.all.length} messages`)
  t.ok(process.memoryUsage().heapUsed - before < 300e6)
})

/** A disk that is gone, with the process, after a number of operations that change something. */
class KilledFiles extends PowerFiles {
  left: number
  #isKilled = false

  constructor(random: Random, attic: string, left: number) {
    super(random, attic)
    this.left = left
  }

  get isKilled(): boolean {
    return this.#isKilled
  }

  #count(): void {
    if (this.left-- > 0) return
    this.#isKilled = true
    this.off()
  }

  override write(...given: Parameters<PowerFiles['write']>): void {
    this.#count()
    super.write(...given)
  }

  override writeSync(...given: Parameters<PowerFiles['writeSync']>): number {
    this.#count()
    return super.writeSync(...given)
  }

  override fdatasync(...given: Parameters<PowerFiles['fdatasync']>): void {
    this.#count()
    super.fdatasync(...given)
  }

  override renameSync(from: string, to: string): void {
    this.#count()
    super.renameSync(from, to)
  }
}

const scenario = toBus(', group: 0s, escalate: { after: 50ms, to: boss }')
const rows = ['kill', 'power'] as const

for (const end of rows) {
  t.test(`each transition is told once, whatever is the last write (${end})`, async t => {
    let isWhole = false
    for (let left = 0; !isWhole && left < 200; left++) {
      const [dir, attic] = [await tempDir(), await tempDir()]
      const files = new KilledFiles(new Random(left), attic, left)
      const alerts = new AlertList()
      const published = new PublishedList()
      const options = { dir, alerts, publisher: published }
      const steps = [
        [transition(1), transition(2)],
        [transition(3)],
        [transition(4, { alert: 'alert-1', state: 'cleared' })],
        [transition(5), transition(6)],
      ]
      const first = await startNotifications(scenario, { ...options, files }).catch(() => undefined)
      for (const step of steps) {
        if (!first) alerts.all.push(...step)
        else first.raise(...step)
        const all = alerts.all.length
        for (let n = 0; first && !files.isKilled && told({ published }).length < all && n < 200; n++)
          await new Promise(resolve => setTimeout(resolve, 5))
      }
      if (first) {
        for (let n = 0; !files.isKilled && told({ published }, 'boss').length < 4 && n < 200; n++)
          await new Promise(resolve => setTimeout(resolve, 5))
        isWhole = !files.isKilled
        files.off()
        await first.notifications.stop()
      }
      if (end === 'power') files.cut()
      const second = await startNotifications(scenario, options)
      const expected = ['alert-1 cleared', ...[1, 2, 3, 5, 6].map(n => `alert-${n} firing`)]
      await eventually(() => told({ published }).length >= 6, `all, killed after ${left}: ${told({ published })}`)
      await eventually(() => told({ published }, 'boss').length >= 4, 'escalations')
      await eventually(() => second.notifications.status().every(({ waiting }) => waiting === 0), 'nothing waits')
      await second.notifications.stop()
      t.same(told({ published }), expected, `${end} after ${left} operations`)
      const overdue = told({ published }, 'boss').filter(one => !one.startsWith('alert-1 '))
      t.same(
        overdue,
        [2, 3, 5, 6].map(n => `alert-${n} firing`),
        'escalations',
      )
    }
    t.ok(isWhole, 'the last round was not killed')
  })
}
