import t from 'tap'
import { DeadLetterFiles } from '../../src/dead-letters/dead-letters.js'
import { all, letter, numbers } from '../contract/dead-letters.js'
import { disk, end } from '../fixtures/failing-disk.js'
import { Random } from '../fixtures/packets.js'
import type { PowerFiles } from '../fixtures/power-files.js'

/*
 * Dead letters on a disk where every operation may fail at random, that stops, and that loses its power. A letter whose
 * put resolved is there afterwards, once; one whose removal resolved is not. Each seed is a history of its own; a failure
 * names it.
 */

const never = new AbortController().signal

/** What must be found of a letter; of others nothing is known: their put or their removal was refused, or not awaited. */
type Fate = 'there' | 'gone'

class History {
  readonly fates = new Map<number, Fate>()
  readonly incidents: string[] = []
  /** Letters that went for the limit, or were on their way. */
  #dropped = new Set<number>()
  /** Some files could not be read at the start: they may have what is removed now, too. */
  #isBlind = false
  next = 1

  open(dir: string, files?: PowerFiles): DeadLetterFiles {
    this.#isBlind = false
    return new DeadLetterFiles({
      dir,
      limitBytes: 30_000,
      log: { warn: () => {} },
      incidents: {
        report: (kind, sentence) => {
          this.incidents.push(`${kind}: ${sentence}`)
          if (kind !== 'dead_letters_lost') this.#isBlind = true
        },
      },
      dropped: letters => {
        for (const { sequence } of letters) {
          this.#dropped.add(sequence)
          this.fates.delete(sequence)
        }
      },
      ...(files && { files }),
    })
  }

  async put(dead: DeadLetterFiles, numbers: readonly number[]): Promise<void> {
    this.#dropped = new Set()
    // Those that are there already are there whatever becomes of this.
    const unsure = numbers.filter(n => this.fates.get(n) !== 'there')
    for (const n of unsure) this.fates.delete(n)
    await dead.put(numbers.map(n => letter(n, {}, { payload: Buffer.alloc(200, n) })))
    for (const n of unsure) if (!this.#dropped.has(n)) this.fates.set(n, 'there')
  }

  /** Removes some, and puts some of those again meanwhile. */
  async sweep(dead: DeadLetterFiles, random: Random): Promise<void> {
    const from = random.below(this.next)
    const answered: number[] = []
    const filter = { from: letter(from).failedAt, to: letter(from + random.below(60)).failedAt }
    const again: number[] = []
    await dead.sweep(
      filter,
      async letters => {
        const answers = letters.map(() => random.chance(60))
        for (const [i, n] of numbers(letters).entries()) {
          if (!answers[i]) continue
          this.fates.delete(n)
          if (random.chance(10)) again.push(n)
          else answered.push(n)
        }
        await dead.put(again.map(n => letter(n, { reason: 'again' }))).catch(() => {})
        return answers
      },
      never,
    )
    if (!this.#isBlind) for (const n of answered) this.fates.set(n, 'gone')
  }

  /** What is wrong with what is there, in a sentence. */
  async check(dead: DeadLetterFiles): Promise<string | undefined> {
    const found = numbers(await all(dead))
    const there = new Set(found)
    const missing = [...this.fates].flatMap(([n, fate]) => (fate === 'there' && !there.has(n) ? n : []))
    const returned = [...this.fates].flatMap(([n, fate]) => (fate === 'gone' && there.has(n) ? n : []))
    if (missing.length > 0) return `${missing} are lost`
    if (returned.length > 0) return `${returned} are there again`
    if (there.size !== found.length) return `some are there twice: ${found}`
    if (dead.count !== found.length) return `${dead.count} are counted, ${found.length} are there`
    return undefined
  }
}

t.test('dead letters: what was kept is there, once, and what was removed is not', async t => {
  let failures = 0
  let checked = 0
  const first = Number(process.env.SEED ?? 301)
  for (let seed = first; seed < first + Number(process.env.SEEDS ?? 15); seed++) {
    const random = new Random(seed)
    const { dir, files } = await disk(random)
    const history = new History()
    for (let generation = 0; generation < 5; generation++) {
      const isSound = random.chance(50)
      files.percent = isSound ? 0 : random.below(15)
      files.readPercent = isSound ? 0 : random.below(10)
      const dead = history.open(dir, files)
      await dead.start()
      if (isSound) {
        const wrong = await history.check(dead)
        if (wrong) return t.fail(`seed ${seed}, generation ${generation}: ${wrong}`)
      }
      files.percent = random.below(25)
      files.readPercent = random.below(5)
      let last = Promise.resolve()
      for (let step = 0; step < 30; step++) {
        const some = Array.from({ length: random.below(6) }, () =>
          random.chance(80) ? history.next++ : random.below(history.next),
        )
        const act = random.chance(70) ? history.put(dead, [...new Set(some)]) : history.sweep(dead, random)
        // The last one may be under way when the process ends.
        if (step < 29) await act.catch(() => {})
        else last = act.catch(() => {})
      }
      failures += files.failures
      files.failures = 0
      await end(random, files, async () => {
        await dead.stop()
        await last
      })
    }
    const dead = history.open(dir)
    await dead.start()
    const wrong = await history.check(dead)
    if (wrong) return t.fail(`seed ${seed}: ${wrong}`)
    await dead.stop()
    const loss = history.incidents.find(sentence => sentence.startsWith('dead_letters_lost'))
    if (loss) return t.fail(`seed ${seed}: nothing is damaged, and it says ${loss}`)
    checked += history.fates.size
  }
  t.ok(failures > 300, `${failures} operations failed`)
  t.ok(checked > 300, `the fate of ${checked} letters was known`)
})
