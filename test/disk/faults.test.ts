import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BalanceSheet } from '../../src/accounting/balance-sheet.js'
import { Registry } from '../../src/pipeline/registry.js'
import { Cursors } from '../../src/spool/cursors.js'
import { Spool } from '../../src/spool/spool.js'
import { message } from '../contract/queue.js'
import { disk, end, started } from '../fixtures/failing-disk.js'
import { Random } from '../fixtures/packets.js'
import { drain, openCursors, openSpool, publish } from '../fixtures/spool.js'

/*
 * The classes that keep state, on a disk where every operation may fail at random, that stops, and that loses its power.
 * What was acknowledged is there afterwards. Each seed is a history of its own; a failure names it.
 */

const quiet = { log: { warn: () => {} }, incidents: { report: () => {} } }

t.test('spool and cursors: every acknowledged message is delivered, under a number of its own', async t => {
  let failures = 0
  let acknowledged = 0
  for (let seed = 11; seed <= 25; seed++) {
    const random = new Random(seed)
    const { dir, files } = await disk(random)
    const kept = new Map<string, number>()
    const delivered = new Set<string>()
    let next = 0
    for (let generation = 0; generation < 4; generation++) {
      files.percent = random.below(10)
      let cursors: Cursors | undefined
      const spool = await started(async () => {
        const spool = new Spool({
          dir,
          files,
          segmentBytes: 1_500,
          limitBytes: 1e9,
          fsync: 'group',
          clock: { now: () => 1_000_000 + next },
          ...quiet,
        })
        spool.reportTo({ onCommitted: position => cursors?.committed(position) })
        await spool.start().catch(async error => {
          await spool.stop().catch(() => {})
          throw error
        })
        return spool
      })
      cursors = await started(async () => {
        const cursors = new Cursors({
          dir,
          files,
          groups: ['record'],
          inherit: {},
          position: spool.position,
          freed: bytes => spool.freed(bytes),
          ...quiet,
        })
        cursors.start()
        return cursors
      })
      files.percent = random.below(25)
      files.readPercent = random.below(10)
      for (let step = 0; step < 25; step++) {
        for (let n = random.below(6); n > 0; n--) {
          const text = `message ${next++} ${'x'.repeat(random.below(300))}`
          spool.append(publish(next, text), (_, error, sequence) => {
            if (!error) kept.set(text, sequence)
          })
        }
        if (random.chance(50)) await spool.flush()
        if (random.chance(50) && cursors.depth('record') > 0) {
          const enough = new AbortController()
          const timer = setTimeout(() => enough.abort(), 5)
          const delivery = await cursors
            .reader('record')
            .next(1 + random.below(10), enough.signal)
            .catch(() => undefined)
          clearTimeout(timer)
          for (const { payload } of delivery?.messages ?? []) delivered.add(String(payload))
          delivery?.settle()
        }
      }
      await spool.flush()
      failures += files.failures
      files.failures = 0
      const reading = cursors
      await end(random, files, async () => {
        await reading.stop()
        await spool.stop()
      })
    }
    const { spool } = await openSpool(dir)
    const { cursors } = openCursors(dir, spool, { groups: ['record'] })
    for (const { payload } of await drain(cursors, 'record')) delivered.add(String(payload))
    await cursors.stop()
    await spool.stop()
    const missing = [...kept].filter(([text]) => !delivered.has(text))
    if (missing.length > 0) t.fail(`seed ${seed}: ${missing.length} of ${kept.size} are lost: ${missing.slice(0, 3)}`)
    if (new Set(kept.values()).size !== kept.size) t.fail(`seed ${seed}: a number was given twice`)
    acknowledged += kept.size
  }
  t.ok(failures > 100, `${failures} operations failed`)
  t.ok(acknowledged > 300, `${acknowledged} messages were acknowledged`)
})

t.test('balance sheet: what was settled stays settled, and counts once', async t => {
  let failures = 0
  let settledInAll = 0
  for (let seed = 101; seed <= 115; seed++) {
    const random = new Random(seed)
    const { dir, files } = await disk(random)
    const settled = new Set<number>()
    const open = async (more: object) => {
      const balance = new BalanceSheet({
        dir,
        offsets: { accepted: 1e6, drained: 0 },
        clock: { now: () => 1e15 },
        incidents: quiet.incidents,
        journalBytes: 2_000,
        ...more,
      })
      await balance.start().catch(async error => {
        await balance.stop().catch(() => {})
        throw error
      })
      return balance
    }
    let next = 0
    for (let generation = 0; generation < 4; generation++) {
      files.percent = random.below(10)
      const balance = await started(() => open({ files }))
      files.percent = random.below(25)
      const pending: Promise<void>[] = []
      for (let step = 0; step < 25; step++) {
        const batch = Array.from({ length: 1 + random.below(5) }, () => message(++next))
        const settling = balance.settle(batch.map(one => ({ message: one, rejection: undefined })))
        pending.push(
          settling.then(
            () => {
              for (const { sequence } of batch) settled.add(sequence)
            },
            () => {},
          ),
        )
        if (random.chance(40)) await Promise.all(pending)
      }
      await Promise.all(pending)
      failures += files.failures
      files.failures = 0
      await end(random, files, () => balance.stop())
    }
    const balance = await open({})
    const unknown = balance.unsettled([...settled].sort((a, b) => a - b).map(sequence => message(sequence)))
    if (unknown.length > 0) t.fail(`seed ${seed}: ${unknown.length} of ${settled.size} are not settled any more`)
    const { stored } = balance.sheet({ accepted: next, drained: next, queued: false })
    if (stored < settled.size || stored > next) t.fail(`seed ${seed}: ${stored} stored, ${settled.size} were settled`)
    await balance.stop()
    settledInAll += settled.size
  }
  t.ok(failures > 100, `${failures} operations failed`)
  t.ok(settledInAll > 300, `${settledInAll} messages were settled`)
})

t.test('registry: the file is always whole, and never older than it was said to be', async t => {
  let saves = 0
  for (let seed = 201; seed <= 220; seed++) {
    const random = new Random(seed)
    const { dir, files } = await disk(random)
    mkdirSync(dir)
    const path = join(dir, 'registry.json')
    let next = 0
    let saved = 0
    for (let generation = 0; generation < 4; generation++) {
      const damage: string[] = []
      const incidents = { report: (_kind: string, sentence: string) => void damage.push(sentence) }
      const registry = new Registry(path, { files, incidents })
      const begun = registry.start()
      if (damage.length > 0) t.fail(`seed ${seed}: ${damage}`)
      if (begun < saved) t.fail(`seed ${seed}: it begins at ${begun}, and ${saved} was saved`)
      next = Math.max(next, begun)
      for (let n = random.below(20); n > 0; n--) registry.recordMessage(message(++next))
      files.percent = random.below(40)
      await registry.stop()
      saved = registry.saved
      if (saved > begun) saves++
      await end(random, files, async () => {})
    }
  }
  t.ok(saves > 10, `${saves} times it was saved`)
})
