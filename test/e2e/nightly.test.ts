import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { connectMqtt, eventually, history, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const dayMs = 86_400_000
const dates = (folder: string) =>
  existsSync(join(folder, 'complete'))
    ? readdirSync(join(folder, 'complete')).filter(name => name.endsWith('.json'))
    : []

/** Readings of the last whole days, one each hour. */
function readings(days: number) {
  const end = Math.floor((Date.now() - 3_600_000) / dayMs) * dayMs
  return Array.from({ length: days * 24 }, (_, i) => ({ time: end - (i + 0.5) * 3_600_000, v: i, state: `s${i}` }))
}

t.test('ended days are written to the folder, a kill leaves whole files, and history is as before', async t => {
  const folder = join(await tempDir(), 'days')
  const hub = await startHub(t, { 'export.nightly': folder })
  const device = await connectMqtt(t, hub.mqttUrl)
  await device.publishAsync('home/a', JSON.stringify(readings(4)), { qos: 1 })
  await eventually(
    async () => (await hub.get<{ stored: number }>('/api/balance')).body.stored === 1,
    'the readings are stored',
  )
  const before = [await history(hub, 'home,topic=home/a v'), await history(hub, 'home,topic=home/a state')]
  await hub.stop()
  const again = await startHub(t, { 'export.nightly': folder }, hub.dir)
  await eventually(() => dates(folder).length >= 4, 'the days are written')
  t.same(await history(again, 'home,topic=home/a v'), before[0])
  await again.kill()
  t.same(
    (readdirSync(folder, { recursive: true }) as string[]).filter(name => name.endsWith('.part')),
    [],
  )
  const last = await startHub(t, { 'export.nightly': folder, 'store.keep': 'raw=1d,1m=1d,1h=1d,1d=1d' }, hub.dir)
  t.same(await history(last, 'home,topic=home/a v'), before[0])
  t.same(await history(last, 'home,topic=home/a state'), before[1])
  t.notOk(last.log().includes('export.nightly'))
})

t.test('a full disk of the folder is told, harms nothing, and the days are written when there is room', async t => {
  const disk = await smallDisk(t, 2e6)
  if (!disk) return t.pass('no file system may be mounted here')
  const folder = join(disk.dir, 'days')
  const first = await startHub(t)
  const device = await connectMqtt(t, first.mqttUrl)
  await device.publishAsync('home/a', JSON.stringify(readings(2)), { qos: 1 })
  await eventually(
    async () => (await first.get<{ stored: number }>('/api/balance')).body.stored === 1,
    'the readings are stored',
  )
  await first.stop()
  disk.fill(0)
  const hub = await startHub(t, { 'export.nightly': folder }, first.dir)
  await eventually(() => /could not be written to .*export\.nightly/.test(hub.log()), 'the hub says so')
  t.equal((await history(hub, 'home,topic=home/a v')).length, 48)
  t.equal(dates(folder).length, 0)
  await hub.stop()
  disk.free()
  await startHub(t, { 'export.nightly': folder }, first.dir)
  await eventually(() => dates(folder).length >= 2, 'the days are written')
})
