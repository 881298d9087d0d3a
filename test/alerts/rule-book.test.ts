import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Alerts } from '../../src/alerts/alerts.js'
import { RuleBook } from '../../src/alerts/rule-book.js'
import type { Message } from '../../src/model.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'

function bookIn(dir: string): RuleBook {
  return new RuleBook({
    ...{ file: join(dir, 'alerts.yaml'), isNamed: false, log: quietLog, follower: { rulesChanged: () => {} } },
    ...{ ownFile: join(dir, 'rules.json'), keptFile: join(dir, 'in-force.json') },
  })
}

/** The names of the rules in force, and the mistakes, of a hub that starts with these files. */
async function started(dir: string): Promise<{ names: string[]; mistakes: readonly string[]; book: RuleBook }> {
  const book = bookIn(dir)
  book.start()
  await book.stop()
  return { names: book.rules.map(({ name }) => name), mistakes: book.mistakes, book }
}

const good = 'rules: {high: {field: value, above: 10}}'

t.test('no file keeps a hub from starting, and the rules from before stay in force', async t => {
  const dir = await tempDir()
  const file = join(dir, 'alerts.yaml')
  writeFileSync(file, good)
  t.same((await started(dir)).names, ['high'])
  for (const [bad, why] of [
    ['rules: {a: &x {above: 1, tags: *x}}', /contains itself/],
    [`rules: {a: {above: ${'['.repeat(100_000)}`, /nested too deeply|call stack/],
    [`rules: {a: {above: ${'['.repeat(300)}1${']'.repeat(300)}}}`, /a number/],
    ['rules: {high: {field: value, above: hot}}', /line 1/],
  ] as const) {
    writeFileSync(file, bad)
    const { names, mistakes } = await started(dir)
    t.same(names, ['high'], bad.slice(0, 40))
    t.match(mistakes.join(), why)
  }
  rmSync(join(dir, 'in-force.json'))
  t.same((await started(dir)).names, [], 'no rules are known from before')
})

t.test('damaged rules of the API are named, stay in force, and are not written over', async t => {
  const dir = await tempDir()
  const own = join(dir, 'rules.json')
  const book = bookIn(dir)
  book.start()
  await book.put('low', { field: 'value', below: 1 })
  await book.stop()
  for (const damaged of ['{"low":{"fie', '[]', 'null']) {
    writeFileSync(own, damaged)
    const { names, mistakes, book } = await started(dir)
    t.same(names, ['low'])
    t.match(mistakes, [/rules\.json cannot be read/])
    t.match(book.alarm(), /rules\.json cannot be read/)
    await t.rejects(book.put('other', { field: 'value', below: 1 }), { code: 'busy' })
    await t.rejects(book.remove('low'), { code: 'busy' })
    t.equal(readFileSync(own, 'utf8'), damaged)
  }
})

t.test('a start with mistakes clears no alert', async t => {
  const dir = await tempDir()
  mkdirSync(join(dir, 'alerts'))
  const file = join(dir, 'alerts.yaml')
  const message: Message = {
    ...{ sequence: 1, receivedAt: Date.now() * 1_000, topic: 'home', payload: Buffer.from('20') },
    ...{ qos: 1, retain: false, clientId: 'c', user: '', packetId: 0 },
  }
  /** Starts a hub, has it read a message, and returns the states of all alerts once it has stopped. */
  const run = async (text: string, messages: Message[] = []) => {
    writeFileSync(file, text)
    const alerts = new Alerts({
      ...{ settings: { 'alerts.file': '', 'data.dir': dir }, dir, log: quietLog, incidents: { report: () => {} } },
      naming: {
        describe: id => ({ id, devices: [], deviceClass: undefined, label: 'It', unit: undefined, device: undefined }),
        namesOf: id => [id],
      },
      readings: {
        measurementOf: () => 'home',
        known: () => undefined,
        pointsOf: () => [{ measurement: 'home', tags: [], fields: [['value', 20]], time: message.receivedAt }],
      },
      surroundings: { isCaughtUp: true, position: 0, devices: () => [], hubFindings: () => [], changes: 0 },
      store: {
        write: async () => [],
        history: async () => ({ times: [], values: [] }),
        series: async () => ({ series: [], next: undefined }),
      },
      delivery: { push: async () => {} },
    })
    await alerts.start()
    await alerts.handle(messages)
    await alerts.stop()
    const { transitions } = await alerts.after(0, 100)
    return transitions.map(({ state }) => state)
  }
  t.same(await run(good, [message]), ['firing'])
  t.same(await run('rules: ['), ['firing'])
  rmSync(join(dir, 'alerts', 'in-force.json'))
  t.same(await run('rules: ['), ['firing'], 'nor without the rules from before')
  t.same(await run(good), ['firing'])
  t.same(await run('rules: {}'), ['firing', 'cleared'], 'a rule that is gone does')
})
