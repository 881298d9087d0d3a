import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nodeFiles } from '../../src/disk/files.js'
import { Identity, type IdentityOptions } from '../../src/disk/identity.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

function begin(t: { teardown(end: () => unknown): void }, dir: string, more: Partial<IdentityOptions> = {}) {
  const reports: string[] = []
  const warnings: string[] = []
  const identity = new Identity({
    dir,
    incidents: { report: (kind, sentence) => reports.push(`${kind}: ${sentence}`) },
    log: { warn: sentence => warnings.push(sentence) },
    ...more,
  })
  t.teardown(() => identity.stop())
  identity.start()
  return { identity, reports, warnings }
}

t.test('the id is kept, the broker ids ascend', async t => {
  const dir = await tempDir()
  const first = begin(t, dir).identity
  const second = begin(t, dir).identity
  t.equal(second.hubId, first.hubId)
  t.ok(second.brokerId > first.brokerId)
})

t.test('it is known when the hub was started, the last 200 times; a file of an older version has no times', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'hub.json'), '{"id":"x","starts":7}')
  const startAt = (now: number) => begin(t, dir, { clock: { now: () => now } }).identity
  t.same(startAt(1).times, [1])
  t.same(startAt(2).times, [1, 2])
  for (let now = 3; now <= 200; now++) startAt(now)
  t.same([startAt(201).times.length, startAt(202).times[0]], [200, 3])
})

t.test('a damaged file is set aside, and reported', async t => {
  for (const damaged of ['', '{', '[]', 'null', '{"id":"","starts":1}', '{"id":"x","starts":"y"}']) {
    const dir = await tempDir()
    writeFileSync(join(dir, 'hub.json'), damaged)
    const { identity, reports } = begin(t, dir)
    t.match(identity.hubId, /^[\w-]{36}$/)
    t.match(reports, [/^identity_damaged: .*hub\.json cannot be read .*hub\.json\.bad now$/])
    t.equal(readFileSync(join(dir, 'hub.json.bad'), 'utf8'), damaged)
    t.equal(begin(t, dir).identity.hubId, identity.hubId)
  }
})

t.test('a full disk does not keep the hub from its id; the id is written when there is room', async t => {
  const dir = await tempDir()
  let full = true
  const openSync: typeof nodeFiles.openSync = (path, flags) => {
    if (full && path.endsWith('.new')) throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    return nodeFiles.openSync(path, flags)
  }
  const { identity, warnings } = begin(t, dir, { files: { ...nodeFiles, openSync } })
  t.match(identity.hubId, /^[\w-]{36}$/)
  t.match(warnings, [/hub\.json could not be written: full; retrying/])
  t.same(readdirSync(dir), [])
  full = false
  await eventually(() => readdirSync(dir).includes('hub.json'), 'written')
  t.equal(begin(t, dir).identity.hubId, identity.hubId)
})
