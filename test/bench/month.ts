import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Answer } from '../../src/contract/contract.js'
import { movedClock } from '../fixtures/moved-clock.js'
import { asAdmin, type RunningHub, runCli, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { type Away, MonthFeed } from './month-feed.js'
import { type MonthResults, readResults, resultsFile } from './results.js'
import { sample } from './sustained.js'
import { machine, version } from './targets.js'

/*
 * npm run bench -- month [--days 30] [--dir DIR]: a month of the simulated home and plant, made at speed, through the hub into DuckDB.
 * What the month takes on disk: as it came, with roll-ups, after retention, with the rules that telehub noise proposes;
 * and how long backup and restore take. Every hour of every device is compared with what was sent: before retention, after
 * it, after data of a week that came late into every tier, and in the restored hub.
 */

const hour = 3_600_000
const day = 24 * hour

/** Interval of the reports of a machine: a plant sends every second, and a month of that are three billion readings. */
const plantSeconds = 900

/** Time after the start in which retention has looked at the store. */
const firstLookMs = 30_000

/** Messages that may wait to be stored. */
const mostWaiting = 100_000

type Store = Answer<'GET /api/store'>

export interface MonthOptions {
  readonly days: number
  /** Where data and progress are kept: a run that was ended goes on there. Undefined: in a new folder, removed at the end. */
  readonly dir: string | undefined
}

export async function month({ days, dir }: MonthOptions): Promise<void> {
  const bench = new MonthBench(days, dir ?? (await tempDir()))
  process.once('SIGTERM', () => void bench.end().finally(() => process.exit(1)))
  try {
    await bench.run()
  } finally {
    await bench.end()
    if (dir === undefined) rmSync(bench.dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

/** Progress that a run goes on from. */
interface Progress {
  readonly to: number
  /** Steps that are done. */
  readonly done: string[]
  readonly figures: Record<string, number>
  readonly feeds: Record<string, ReturnType<MonthFeed['state']>>
  rules: readonly Rule[]
  isLateBegun?: boolean
}

class MonthBench {
  readonly dir: string
  readonly #days: number
  readonly #ends: (() => unknown)[] = []
  readonly #progress: Progress

  constructor(days: number, dir: string) {
    this.#days = days
    this.dir = dir
    const path = join(dir, 'month.json')
    const to = Math.floor(Date.now() / hour) * hour
    this.#progress = existsSync(path)
      ? (JSON.parse(readFileSync(path, 'utf8')) as Progress)
      : { to, done: [], figures: { 'hours compared': 0, 'hours different': 0 }, feeds: {}, rules: [] }
  }

  async run(): Promise<void> {
    const { to } = this.#progress
    const from = to - this.#days * day
    const feed = new MonthFeed(from, to, plantSeconds)
    const away = this.#away(feed)
    const at = (name: string) => {
      const folder = join(this.dir, name)
      mkdirSync(folder, { recursive: true })
      return folder
    }
    const part = (share: number) => Math.max(1, Math.round(share * this.#days))
    const keep = `raw=${part(7 / 30)}d,1m=${part(14 / 30)}d`
    const kept = { 'store.keep': keep }
    // A shorter time acts after an hour.
    const clock = movedClock({ testdir: () => at('clock') })
    clock.moveTo(hour + 120_000)

    await this.#fed('ingest', at('data'), kept, feed, away)
    await this.#step('month', async () => {
      const hub = await this.#hub(at('data'), kept)
      // A shorter time acts an hour after the first look, which must come before the clock is moved.
      const looked = sleep(firstLookMs)
      await this.#sizes('month', hub)
      await this.#same(hub, 'before retention', feed)
      rmSync(at('copies'), { recursive: true })
      await this.#backedUp(hub, join(at('copies'), 'backup'), join(at('copies'), 'data'), feed)
      this.#progress.rules = await this.#rules(hub)
      await looked
      await hub.stop()
    })
    await this.#step('retention', async () => {
      const hub = await this.#hub(at('data'), kept, clock.environment)
      await this.#timed('retention', () => this.#logged(hub, /readings \(1m\) were deleted/))
      await hub.stop()
    })
    await this.#step('retained', async () => {
      const hub = await this.#hub(at('data'), kept, clock.environment)
      await this.#sizes('retained', hub)
      await this.#same(hub, 'after retention', feed)
      await hub.stop()
    })
    await this.#step('late', async () => {
      // A reading that comes twice counts twice where the readings of its time are gone.
      if (this.#progress.isLateBegun) throw new Error('ended while late data were sent: begin anew in another folder')
      this.#progress.isLateBegun = true
      this.#save()
      const hub = await this.#hub(at('data'), kept, clock.environment)
      await this.#late(hub, feed, away)
      await hub.stop()
    })
    await this.#fed('thinned', at('thinned'), {}, new MonthFeed(from, to, plantSeconds), [])
    await this.#step('thinned sizes', async () => {
      const hub = await this.#hub(at('thinned'), {})
      await this.#sizes('thinned', hub)
      await hub.stop()
    })
    this.#write(keep)
  }

  async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end()
  }

  /** Does a step that is not done yet. */
  async #step(name: string, work: () => Promise<void>): Promise<void> {
    const { done } = this.#progress
    if (done.includes(name)) return
    await work()
    done.push(name)
    this.#save()
  }

  #save(): void {
    writeFileSync(join(this.dir, 'month.json.new'), JSON.stringify(this.#progress))
    renameSync(join(this.dir, 'month.json.new'), join(this.dir, 'month.json'))
  }

  /** Returns for three devices a week, by a month, in which they are away: across the ends of the tiers. */
  #away({ to }: MonthFeed): readonly Away[] {
    const ago = (share: number) => to - Math.round(share * this.#days * 24) * hour
    return (
      [
        ['kitchen', 25 / 30, 18 / 30],
        ['living-room', 17 / 30, 10 / 30],
        ['bedroom', 10 / 30, 3 / 30],
      ] as const
    ).map(([room, from, end]) => ({ topic: `home/${room}/thermostat/telemetry`, from: ago(from), to: ago(end) }))
  }

  #hub(dir: string, settings: Readonly<Record<string, string>>, environment = {}): Promise<RunningHub> {
    return startHub({ teardown: end => void this.#ends.push(end) }, settings, dir, environment)
  }

  /** Sends the month, day by day: what was sent of a day when a run was ended is sent once more. */
  async #fed(
    name: string,
    dir: string,
    settings: Readonly<Record<string, string>>,
    feed: MonthFeed,
    away: readonly Away[],
  ): Promise<void> {
    const { feeds, figures, rules } = this.#progress
    const before = feeds[name]
    if (before) feed.resume(before)
    await this.#step(name, async () => {
      const hub = await this.#hub(dir, settings)
      if (rules.length > 0 && !before) await this.#ask(hub, 'POST', '/api/mapping', { rules })
      while (feed.reached < feed.to) {
        const began = performance.now()
        await feed.send(Number(new URL(hub.mqttUrl).port), away, this.#pace(hub))
        while ((await waiting(hub)) > 0) await sleep(100)
        this.#note(`${name} seconds`, (figures[`${name} seconds`] ?? 0) + (performance.now() - began) / 1_000)
        feeds[name] = feed.state()
        this.#save()
      }
      await this.#rolledUp(hub)
      this.#note(`${name} messages`, feed.messages)
      this.#note(`${name} readings`, feed.readings)
      const seconds = figures[`${name} seconds`] ?? 0
      say(`${name}: ${count(feed.messages)} messages, ${count(feed.readings)} readings in ${seconds.toFixed(0)} s`)
      await hub.stop()
    })
  }

  /** Keeps what waits to be stored within bounds. */
  #pace(hub: RunningHub): () => Promise<void> {
    let turns = 0
    return async () => {
      if (++turns % 24 !== 0) return
      while ((await waiting(hub)) > mostWaiting) await sleep(50)
    }
  }

  /** Resolves when all that is stored is rolled up. */
  async #rolledUp(hub: RunningHub): Promise<void> {
    const began = performance.now()
    for (;;) {
      const { rolledUp } = await this.#store(hub)
      if (rolledUp?.until !== undefined && rolledUp.behind < 180_000 && rolledUp.waiting === 0) break
      await sleep(500)
    }
    say(`rolled up ${((performance.now() - began) / 1_000).toFixed(1)} s after the last was stored`)
  }

  async #store(hub: RunningHub): Promise<Store> {
    return (await hub.get<Store>('/api/store')).body
  }

  async #sizes(name: string, hub: RunningHub): Promise<void> {
    const { tables, used = 0, bytes = 0 } = await this.#store(hub)
    for (const { tier, rows, bytes: size } of tables) {
      this.#note(`${name} ${tier} rows`, rows)
      this.#note(`${name} ${tier} bytes`, size)
    }
    this.#note(`${name} used bytes`, used)
    this.#note(`${name} file bytes`, bytes)
    const list = tables
      .map(({ tier, rows, bytes: size }) => `${tier} ${count(rows)} rows ${megabytes(size)}`)
      .join(', ')
    say(`${name}: ${megabytes(used)} in use, ${megabytes(bytes)} of files; ${list}`)
  }

  async #backedUp(hub: RunningHub, to: string, data: string, feed: MonthFeed): Promise<void> {
    const backup = ['backup', to, '--data.dir', hub.dir, '--url', hub.httpUrl]
    await this.#timed('backup', () => telehub(...backup))
    this.#note('backup bytes', bytesOf(to))
    await this.#timed('backup again', () => telehub(...backup))
    await this.#timed('restore', () => telehub('restore', to, '--to', data, '--new-id'))
    const began = performance.now()
    const copy = await this.#hub(data, {})
    this.#note('restored start seconds', (performance.now() - began) / 1_000)
    await this.#same(copy, 'in the restored hub', feed)
    await copy.stop()
  }

  /**
   * Returns the rules that `telehub noise` proposes, those for one topic joined. Of the plant one line is asked for, and
   * the machine that has a fault: the others are alike.
   */
  async #rules(hub: RunningHub): Promise<readonly Rule[]> {
    const rules = new Map<string, Rule>()
    let proposed = 0
    const asked = (key: string) => !key.startsWith('plant') || /line-1|line-3.press/.test(key)
    for (const key of (await this.#keys(hub)).filter(asked)) {
      const query = new URLSearchParams({ hours: '168', series: key })
      const { body } = await hub.get<Answer<'GET /api/noise'>>(`/api/noise?${query}`)
      const rule = body.rows[0]?.rule as Rule | undefined
      if (!rule) continue
      proposed++
      for (const topic of topicsOf(rule.topic)) {
        const deadband = { ...rules.get(topic)?.deadband, ...rule.deadband }
        rules.set(topic, { ...rule, topic, ...(Object.keys(deadband).length > 0 && { deadband }) })
      }
    }
    this.#note('noise proposals', proposed)
    say(`${proposed} series have a proposed rule; ${rules.size} rules`)
    return [...rules.values()]
  }

  async #keys(hub: RunningHub): Promise<readonly string[]> {
    const keys: string[] = []
    for (let after = ''; ; ) {
      const { body } = await hub.get<{ series: { key: string }[]; next?: string }>(`/api/series?limit=1000${after}`)
      keys.push(...body.series.map(({ key }) => key))
      if (body.next === undefined) return keys
      after = `&after=${body.next}`
    }
  }

  async #late(hub: RunningHub, feed: MonthFeed, away: readonly Away[]): Promise<void> {
    const before = feed.readings
    const began = performance.now()
    for (const one of away) await feed.late(Number(new URL(hub.mqttUrl).port), one, this.#pace(hub))
    while ((await waiting(hub)) > 0) await sleep(200)
    await this.#rolledUp(hub)
    const seconds = this.#note('late seconds', (performance.now() - began) / 1_000)
    this.#note('late readings', feed.readings - before)
    this.#progress.feeds.ingest = feed.state()
    say(`late: ${count(feed.readings - before)} readings in ${seconds.toFixed(1)} s`)
    await this.#same(hub, 'after late data', feed)
  }

  /** Compares count and sum of every hour of every device with what was sent. */
  async #same(hub: RunningHub, when: string, { from, to, sent }: MonthFeed): Promise<void> {
    let hours = 0
    for (const one of sent) {
      for (const fn of ['count', 'sum'] as const) {
        const query = new URLSearchParams({
          ...{ series: one.series, from: String(from), to: String(to), points: String((to - from) / hour), fn },
        })
        const { body } = await hub.get<{ times: number[]; values: number[] }>(`/api/history?${query}`)
        const found = new Map(body.times?.map((time, i) => [Math.round((time - from) / hour), body.values[i] ?? 0]))
        for (const [i, expected] of (fn === 'count' ? one.counts : one.sums).entries()) {
          hours++
          if (Math.abs((found.get(i) ?? 0) - expected) > 1e-9 * Math.max(1, Math.abs(expected)))
            this.#differs(`${when}: ${fn} of ${one.series} in hour ${i}: ${found.get(i)}, sent were ${expected}`)
        }
      }
    }
    const { figures } = this.#progress
    this.#note('hours compared', (figures['hours compared'] ?? 0) + hours)
    say(`${when}: ${count(hours)} counts and sums of hours compared, ${figures['hours different']} differ so far`)
  }

  #differs(sentence: string): void {
    const before = this.#progress.figures['hours different'] ?? 0
    if (before < 10) say(sentence)
    this.#note('hours different', before + 1)
    process.exitCode = 1
  }

  async #ask(hub: RunningHub, method: string, path: string, body: unknown): Promise<void> {
    const headers = { ...asAdmin(hub.dir), 'content-type': 'application/json' }
    const answer = await fetch(hub.httpUrl + path, { method, headers, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`)
  }

  async #logged(hub: RunningHub, pattern: RegExp): Promise<void> {
    while (!pattern.test(hub.log())) await sleep(100)
  }

  async #timed(name: string, work: () => Promise<unknown>): Promise<void> {
    const began = performance.now()
    await work()
    const seconds = this.#note(`${name} seconds`, (performance.now() - began) / 1_000)
    say(`${name}: ${seconds.toFixed(1)} s`)
  }

  #note(name: string, value: number): number {
    this.#progress.figures[name] = Number(value.toFixed(3))
    return value
  }

  #write(keep: string): void {
    const results: MonthResults = {
      ...{ date: new Date().toISOString(), machine: machine(), telehub: version() },
      ...{ days: this.#days, plantSeconds, keep, figures: this.#progress.figures },
    }
    if (this.#days === 30) {
      writeFileSync(resultsFile, `${JSON.stringify({ ...readResults(), month: results }, undefined, 2)}\n`)
      say('written to test/bench/results.json; npm run readme takes it over')
    } else say(JSON.stringify(this.#progress.figures))
  }
}

interface Rule {
  readonly topic: string
  readonly deadband?: Readonly<Record<string, number>>
}

/** Returns the topics of the machines that are like the one of a topic. */
function topicsOf(topic: string): readonly string[] {
  const others = topic.startsWith('plant/line-1/') ? [2, 3, 4, 5] : []
  const like = others.map(line => topic.replace('line-1', `line-${line}`))
  return [topic, ...like.filter(other => other !== 'plant/line-3/press')]
}

async function waiting(hub: RunningHub): Promise<number> {
  const { received, stored, dead } = await sample({ webSocketPort: Number(new URL(hub.httpUrl).port) })
  return received - stored - dead
}

async function telehub(...args: string[]): Promise<void> {
  const run = runCli(args)
  if ((await run.exited) !== 0) throw new Error(run.stderr())
}

function bytesOf(dir: string): number {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' })
  return names.map(name => statSync(join(dir, name))).reduce((sum, one) => sum + (one.isFile() ? one.size : 0), 0)
}

const count = (value: number) => Math.round(value).toLocaleString('en')
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
