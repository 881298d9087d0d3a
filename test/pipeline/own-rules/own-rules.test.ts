import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { SettingsFollower } from '../../../src/config/reload.js'
import { type Settings, settingsTable } from '../../../src/config/settings.js'
import { OwnMapping } from '../../../src/pipeline/own-rules/own-mapping.js'
import { quietLog } from '../../fixtures/quiet.js'
import { eventually } from '../../harness.js'
import { tempDir } from '../../services/service.js'

/** Takes the settings as the processor thread does. */
class Processor implements SettingsFollower {
  readonly taken: (readonly string[])[] = []

  /** No change of the past is asked for here. */
  readonly api = { begin: async () => 0, progress: async () => t.fail('nothing was begun') as never }

  async onSettings({ mapping }: Settings): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    this.taken.push(mapping.map(({ topic }) => topic))
  }

  get last(): readonly string[] | undefined {
    return this.taken.at(-1)
  }
}

const defaults = Object.fromEntries(Object.entries(settingsTable).map(([key, row]) => [key, row.default]))
const settings = { ...defaults, mapping: [{ topic: 'given/#', measurement: 'given' }] } as unknown as Settings

async function opened(dir: string, reports: string[] = []) {
  const pipeline = new Processor()
  const incidents = { report: (_: string, text: string) => reports.push(text) }
  const mapping = new OwnMapping({ dir, settings, pipeline, incidents, log: quietLog })
  await mapping.start()
  return { mapping, pipeline }
}

const anna = { user: 'anna', mayEdit: true }
const oven = { topic: 'plant/{line}/oven', measurement: 'oven' }
const noise = { topic: 'plant/+/noise', ignore: true }

t.test('rules of the hub come first, take effect when saved, and survive a start', async t => {
  const dir = await tempDir()
  const first = await opened(dir)
  t.same(first.pipeline.last, ['given/#'])
  await first.mapping.save([oven], anna, undefined)
  t.same(first.pipeline.last, ['plant/{line}/oven', 'given/#'])
  const saved = await first.mapping.save([noise, oven], { ...anna, user: 'bob' }, first.mapping.list(anna).revision)
  t.match(saved.rules, [
    { place: { from: 'hub', number: 1 }, rule: noise },
    { place: { from: 'hub', number: 2 }, rule: oven },
    { place: { from: 'settings', number: 1 }, rule: { topic: 'given/#' } },
  ])
  t.match(saved.changes, [
    { by: 'bob', what: 'plant/+/noise added' },
    { by: 'anna', what: 'plant/{line}/oven added' },
  ])
  await first.mapping.stop()
  const second = await opened(dir)
  t.same(second.pipeline.last, ['plant/+/noise', 'plant/{line}/oven', 'given/#'])
  await second.mapping.save([oven, noise], anna, undefined)
  t.match(second.mapping.list(anna).changes[0], { what: 'the order of the rules' })
  await second.mapping.undo(anna, undefined)
  await second.mapping.undo(anna, undefined)
  t.same(second.pipeline.last, ['plant/{line}/oven', 'given/#'])
  await second.mapping.onSettings({ ...settings, mapping: [] }, true)
  t.same(second.pipeline.last, ['plant/{line}/oven'], 'the settings were read again')
  await second.mapping.stop()
})

t.test('all mistakes are named with their rules and keys, and none takes effect', async t => {
  const dir = await tempDir()
  const { mapping, pipeline } = await opened(dir)
  const wrong = [
    oven,
    { topic: 'a/{b}', measurement: '{c}', unit: 'x' },
    { topic: 'a/#', measurement: 'a', codec: 'f' },
  ]
  await t.rejects(mapping.save(wrong, anna, undefined), {
    code: 'bad_request',
    message: /rule 2: unit: no such option.*rule 2: measurement: c: no level.*rule 3: codec: only in telehub\.yaml/,
  })
  t.equal(pipeline.taken.length, 1)
  t.notOk(existsSync(join(dir, 'mapping.json')))
  const { revision } = mapping.list(anna)
  await mapping.save([oven], { user: 'bob', mayEdit: true }, revision)
  await t.rejects(mapping.save([], anna, revision), {
    code: 'changed',
    message: /bob changed plant\/\{line\}\/oven added/,
  })
  await mapping.stop()
})

t.test('an edit by hand takes effect; with a mistake the rules from before stay, and an alarm says so', async t => {
  const dir = await tempDir()
  const { mapping, pipeline } = await opened(dir)
  await mapping.save([oven], anna, undefined)
  const path = join(dir, 'mapping.json')
  writeFileSync(path, 'rules:\n  - topic: x/{y}\n    measurement: x\n')
  await eventually(() => pipeline.last?.[0] === 'x/{y}', 'the edit is in force')
  writeFileSync(path, 'rules:\n  - topic: x/{y}\n    measurment: x\n')
  await eventually(() => mapping.list(anna).mistakes.length === 2, 'two mistakes')
  t.match(mapping.list(anna).mistakes[0], /mapping\.json line 3: rule 1: measurment: no such option/)
  t.match(await mapping.alarm.check(), /mapping rules of the hub from before stay in force/)
  t.same(pipeline.last, ['x/{y}', 'given/#'])
  await t.rejects(mapping.save([], anna, undefined), { code: 'busy' })
  await mapping.stop()
})

t.test('a damaged file is set aside with a report, and the hub starts', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'mapping.json'), '{"rules": [{"topic"')
  const reports: string[] = []
  const { mapping, pipeline } = await opened(dir, reports)
  t.same(pipeline.last, ['given/#'])
  t.match(reports, [/mapping rules of the hub cannot be used.*mapping\.json\.bad now/])
  await mapping.save([oven], anna, undefined)
  t.match(JSON.parse(readFileSync(join(dir, 'mapping.json'), 'utf8')), { rules: [oven] })
  await mapping.stop()
})
