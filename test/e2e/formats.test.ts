import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { fileKinds, newerFormats, openFormats } from '../../src/disk/formats.js'
import { doctor, usedDirectory } from '../doctor/examination.js'
import { eventually, history, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'

/** Paths, sizes and times of all files. */
function contents(dir: string): string[] {
  return filesOf(dir).map(name => {
    const { size, mtimeMs } = statSync(join(dir, name))
    return `${name} ${size} ${mtimeMs}`
  })
}

function filesOf(dir: string): string[] {
  return (readdirSync(dir, { recursive: true }) as string[]).filter(name => statSync(join(dir, name)).isFile()).sort()
}

/** What a killed hub of the first layout left behind, with users, a session that is away, a board, a rule, an alert. */
async function firstLayout(): Promise<string> {
  const dir = await tempDir()
  const archive = fileURLToPath(new URL('../../../test/fixtures/layout-1/data.tar.gz', import.meta.url))
  execFileSync('tar', ['-xzf', archive, '-C', dir])
  return dir
}

t.test('a newer format of any file is refused with a sentence, and nothing is changed', async t => {
  const dir = await usedDirectory(t)
  for (const name of filesOf(dir)) {
    // The lock is no content, and the formats are in no format but their own.
    if (/^(lock\.|pid$|formats\.json$)/.test(name)) continue
    const kind = fileKinds.find(({ paths }) => paths.test(name))
    if (!t.ok(kind, `${name} is of a kind`) || !kind) continue
    const formats = { [kind.name]: kind.format + 1 }
    writeFileSync(join(dir, 'formats.json'), JSON.stringify({ format: 1, telehub: '9.8.7', formats }))
    const before = contents(dir)
    const sentence = `${kind.name} has format ${kind.format + 1}, and telehub 0.1.0 reads formats up to ${kind.format}: start telehub 9.8.7 or a newer one; nothing was changed`
    t.throws(() => openFormats(dir, '0.1.0', true), { code: 'data_dir_unusable', message: sentence })
    t.same(contents(dir), before, name)
  }
  const run = runCli(['start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir])
  t.not(await run.exited, 0)
  t.match(run.stderr(), 'start telehub 9.8.7 or a newer one; nothing was changed')
  t.match((await doctor(dir)).of('formats'), /store has format 3, and this telehub reads formats up to 2/)
})

t.test('a segment of a newer spool is refused although the formats say nothing of it', async t => {
  const dir = await usedDirectory(t)
  const segment = join(dir, 'spool', '0000000000000001.seg')
  const bytes = readFileSync(segment)
  bytes.write('THSPOOL2')
  writeFileSync(segment, bytes)
  t.match(newerFormats(dir, '0.1.0'), [/0000000000000001.seg has format 2/])
})

t.test('the formats of a newer telehub that this one reads are kept', async t => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'formats.json'), JSON.stringify({ format: 1, telehub: '9.8.7', formats: { later: 3 } }))
  openFormats(dir, '0.1.0', true)
  const kept = JSON.parse(readFileSync(join(dir, 'formats.json'), 'utf8'))
  t.match(kept, { telehub: '0.1.0', formats: { later: 3, spool: 1 } })
  writeFileSync(join(dir, 'formats.json'), JSON.stringify({ format: 2 }))
  t.match(newerFormats(dir, '0.1.0'), [/formats.json has format 2/])
})

t.test('the first layout is opened: messages, sessions, users, boards, alerts and readings are there', async t => {
  const dir = await firstLayout()
  const hub = await startHub(t, { 'auth.file': join(dir, 'users.yaml') }, dir)
  t.same(await history(hub, 'rooms,room=hall temperature'), [20, 21, 22, 23, 24])
  const balance = async () => (await hub.get<Record<string, number>>('/api/balance')).body
  await eventually(async () => (await balance()).spool === 0, 'all is stored')
  t.match(await balance(), { received: 7, stored: 6, dead: 1, residual: 0 })
  const { sessions } = (await hub.get<{ sessions: { clientId: string }[] }>('/api/sessions')).body
  t.match(sessions, [{ clientId: 'away', user: 'thermo', queued: 7 }])
  t.match((await hub.get('/api/users')).body, { users: [{ name: 'thermo' }] })
  t.match((await hub.get('/api/boards')).body, { boards: { wall: { name: 'Wall' } } })
  t.match((await hub.get('/api/alerts/rules')).body, { rules: [{ name: 'hot', firing: 1 }] })
  t.match((await hub.get('/api/alerts')).body, { alerts: [{ rule: 'hot' }] })
  t.match((await hub.get('/api/mapping')).body, { rules: [{ rule: { measurement: 'rooms' } }] })
  t.match(JSON.parse(readFileSync(join(dir, 'formats.json'), 'utf8')), { formats: { spool: 1, store: 2 } })
  t.equal(await hub.stop(), 0)
})
