import { cpSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type JournalFile, type KeptRecord, ShadowJournal } from '../../src/shadows/shadow-journal.js'
import { FaultyFiles } from '../fixtures/faulty-files.js'
import { Random } from '../fixtures/packets.js'
import { tempDir } from '../services/service.js'

const textOf = (key: string, value: string) => JSON.stringify({ key, value })

class Thing implements KeptRecord {
  readonly key: string
  text: string
  file: JournalFile | undefined
  bytes = 0
  pending = 0
  isDoubtful = false

  constructor(key: string) {
    this.key = key
    this.text = textOf(key, '')
  }

  toText(): string {
    return this.text
  }
}

/** Opens a journal of things, and reads what is on disk. */
async function open(dir: string, files?: FaultyFiles) {
  const things = new Map<string, Thing>()
  const damages: string[] = []
  const journal = new ShadowJournal({
    dir,
    fileBytes: 2_000,
    incidents: { report: (_kind, sentence) => damages.push(sentence) },
    ...(files && { files }),
  })
  await journal.load(text => {
    const { key } = JSON.parse(text) as { key: string }
    const thing = things.get(key) ?? new Thing(key)
    things.set(key, thing)
    thing.text = text
    return thing
  })
  const put = (key: string, value: string) =>
    new Promise<boolean>(resolve => {
      const thing = things.get(key) ?? new Thing(key)
      things.set(key, thing)
      const text = textOf(key, value)
      journal.append(thing, text, error => {
        if (!error) thing.text = text
        resolve(error === undefined)
      })
    })
  const state = () =>
    Object.fromEntries([...things].filter(([key, { text }]) => text !== textOf(key, '')).map(([k, v]) => [k, v.text]))
  return { journal, put, state, damages }
}

t.test('whatever the disk refuses, what was committed is read again, at any moment', async t => {
  const seeds = process.env.SHADOW_SEED ? [Number(process.env.SHADOW_SEED)] : [1, 2, 3]
  for (const seed of seeds) {
    t.comment(`seed ${seed}; again: SHADOW_SEED=${seed}`)
    const random = new Random(seed)
    const files = new FaultyFiles(random)
    const dir = join(await tempDir(), 'shadows')
    const used = await open(dir, files)
    for (let round = 0; round < 150; round++) {
      files.percent = random.pick([0, 0, 5, 40])
      const some = new Set(Array.from({ length: random.below(8) }, () => `thing ${random.below(12)}`))
      await Promise.all([...some].map(key => used.put(key, 'x'.repeat(random.below(300)))))
      files.percent = 0
      // A refused text that is in a file all the same is corrected behind the next group.
      for (const n of [1, 2]) await used.put('probe', `${round}.${n}`)
      if (round % 5 !== 0) continue
      // The moment of a kill -9: what the process has written is in the files, and nothing else.
      const copy = join(await tempDir(), 'copy')
      cpSync(dir, copy, { recursive: true })
      const again = await open(copy)
      const [found, expected] = [again.state(), used.state()]
      if (JSON.stringify(sorted(found)) !== JSON.stringify(sorted(expected))) {
        t.same(found, expected, `seed ${seed}, round ${round}`)
      }
      await again.journal.close()
    }
    t.ok(files.failures > 10, `${files.failures} faults`)
    await used.journal.close()
  }
})

const sorted = (state: Record<string, string>) => Object.entries(state).sort()

t.test('files stay about as large as what they are for, without one moment that writes all anew', async t => {
  const dir = join(await tempDir(), 'shadows')
  const { journal, put, state } = await open(dir)
  for (let n = 0; n < 40; n++) await put(`rare ${n}`, 'y'.repeat(100))
  for (let n = 0; n < 600; n++) await put(`often ${n % 3}`, 'x'.repeat(200))
  t.ok(journal.bytes < 2 * 6_000 + 5 * 2_000 + 4_000, `${journal.bytes} bytes`)
  const before = state()
  await journal.close()
  for (let n = 0; n < 30; n++) {
    const again = await open(dir)
    if (n === 0) t.same(sorted(again.state()), sorted(before))
    await again.put('often 0', String(n))
    await again.journal.close()
  }
  const last = await open(dir)
  t.same(sorted(last.state()), sorted({ ...before, 'often 0': textOf('often 0', '29') }))
  t.ok(readdirSync(dir).length <= 16 + 12, `${readdirSync(dir).length} files`)
  t.same(last.damages, [])
  await last.journal.close()
})
