interface Subtest {
  readonly name: string
  readonly depth: number
  /** Given when the verdict came before the content, in braces. */
  readonly verdict?: { readonly ok: boolean; readonly text: string }
  points: number
  passed: number
  failed: number
}

interface Count {
  readonly passed: number
  readonly failed: number
}

interface Failure {
  /** The file as it was named to the report; undefined: a failure of the run itself. */
  readonly file: string | undefined
  /** File, subtests and assertion, outermost first. */
  readonly path: readonly string[]
  readonly details: string[]
}

/** The summary lists files that took at least so many seconds, the slowest first, and not more than so many. */
const slowSeconds = 5
const mostSlow = 15

/** The same for seconds of processor time. */
const busySeconds = 1
const mostBusy = 10

/**
 * Reads the TAP output of a whole run, line by line; writes a line per test file, then every failure in full.
 * Counted are assertions. A subtest or a file counts only when it failed with no failed assertion in it: it ended
 * early, took too long, or asserted nothing.
 */
export class TapReport {
  passed = 0
  failed = 0
  #skipped = 0
  readonly #write: (line: string) => void
  readonly #colour: boolean
  #failures: Failure[] = []
  readonly #counts = new Map<string, Count>()
  readonly #seconds = new Map<string, number>()
  readonly #processorSeconds = new Map<string, number>()
  /** The failures of files that are run a second time. */
  readonly #before = new Map<string, readonly Failure[]>()
  readonly #open: Subtest[] = []
  readonly #missing: Set<string>
  /** The point just read: details may follow, which are kept when it is a failure. */
  #last: { readonly failure: Failure | undefined } | undefined
  #detailIndent: number | undefined

  /** `files` are the names of what is run; one that never reports is a failure. */
  constructor(files: readonly string[], write: (line: string) => void, colour: boolean) {
    this.#missing = new Set(files)
    this.#write = write
    this.#colour = colour
  }

  line(line: string): void {
    if (this.#detailIndent !== undefined) {
      this.#detail(line, this.#detailIndent)
      return
    }
    if (this.#last && /^ +---$/.test(line)) {
      this.#detailIndent = line.indexOf('-')
      return
    }
    this.#last = undefined
    const depth = line.length - line.trimStart().length
    const subtest = /^ *# Subtest: (.*)$/.exec(line)
    const point = /^ *(not )?ok \d+(?: - (.*?))?( \{)?$/.exec(line)
    if (subtest) this.#enter(unescaped(subtest[1] as string), depth)
    else if (point) {
      const [, not, text = '', brace] = point
      if (brace) this.#enter(nameOf(text), depth, { ok: !not, text })
      else this.#point(depth, !not, text)
    } else if (line.trim() === '}') {
      const { verdict } = this.#open.at(-1) ?? {}
      if (verdict) this.#point(depth, verdict.ok, verdict.text)
    } else if (line.startsWith('Bail out!')) this.fail(line)
    else if (!/^ *(#.*|\d+\.\.\d+.*|TAP version.*)?$/.test(line)) this.#write(line)
  }

  /** Text to be seen with what was just reported. */
  note(text: string): void {
    for (const line of text.trimEnd().split('\n')) this.#write(`    ${line}`)
  }

  /** A failure of the run itself. */
  fail(problem: string): void {
    this.failed++
    this.#failures.push({ file: undefined, path: [problem], details: [] })
  }

  /** A failure of the file that is being reported, beside its assertions. */
  failIn(problem: string): void {
    const file = this.#open[0]
    if (file) {
      this.failed++
      file.points++
      file.failed++
      this.#failures.push({ file: file.name, path: [sourceOf(file.name), problem], details: [] })
    } else this.fail(problem)
  }

  /** The files with a failure, in the order in which they were reported. */
  get failedFiles(): readonly string[] {
    return [...this.#counts].filter(([, { failed }]) => failed > 0).map(([file]) => file)
  }

  /**
   * The file will be reported a second time, and only this time counts. When it has no failure then, `summarize` lists it
   * as unsteady, with the failures of the first time.
   */
  again(file: string): void {
    const { passed, failed } = this.#counts.get(file) ?? { passed: 0, failed: 0 }
    this.passed -= passed
    this.failed -= failed
    this.#counts.delete(file)
    this.#missing.add(file)
    this.#before.set(
      file,
      this.#failures.filter(one => one.file === file),
    )
    this.#failures = this.#failures.filter(one => one.file !== file)
    this.#write(`  once more, alone: ${sourceOf(file)}`)
  }

  /** Seconds of processor time that a file took, with the processes that it started. */
  used(file: string, seconds: number): void {
    this.#processorSeconds.set(file, seconds)
  }

  /** What each file took in its last run, in seconds: by the clock, and of processor time. */
  get times(): ReadonlyMap<string, readonly [seconds: number, processorSeconds: number]> {
    return new Map(
      [...this.#seconds].map(([file, seconds]) => [file, [seconds, this.#processorSeconds.get(file) ?? 0]]),
    )
  }

  /** Files that failed and then passed alone. */
  get unsteadyFiles(): readonly string[] {
    return [...this.#before.keys()].filter(file => this.#counts.get(file)?.failed === 0)
  }

  /** Call it once, at the end: the files that took longest, then all failures, where they are looked for. */
  summarize(): void {
    this.#list('Slowest', this.#seconds, slowSeconds, mostSlow)
    const all = [...this.#processorSeconds.values()].reduce((sum, seconds) => sum + seconds, 0)
    this.#list(`Most processor time (all: ${all.toFixed(0)} s)`, this.#processorSeconds, busySeconds, mostBusy)
    for (const file of this.#missing) this.fail(`${sourceOf(file)} did not run`)
    const unsteady = this.unsteadyFiles
    for (const file of unsteady) for (const failure of this.#before.get(file) ?? []) this.#show('~', 33, failure)
    for (const failure of this.#failures) this.#show('✖', 31, failure)
    if (unsteady.length > 0) {
      this.#write('\nUnsteady: failed, then passed alone. A defect to mend next, in the test or in what it tests:')
      for (const file of unsteady) this.#write(`${this.#paint(33, '~')} ${sourceOf(file)}`)
    }
    this.#write(this.#skipped > 0 ? `\n${this.#skipped} skipped` : '')
  }

  #list(title: string, seconds: ReadonlyMap<string, number>, least: number, most: number): void {
    const found = [...seconds].filter(([, time]) => time >= least).sort(([, a], [, b]) => b - a)
    if (found.length > 0) this.#write(`\n${title}:`)
    for (const [file, time] of found.slice(0, most)) this.#write(`${time.toFixed(1).padStart(7)} s  ${sourceOf(file)}`)
  }

  #show(sign: string, colour: number, { path, details }: Failure): void {
    this.#write(`\n${this.#paint(colour, sign)} ${path.join(' › ')}`)
    for (const detail of details) this.#write(`    ${detail}`)
  }

  #enter(name: string, depth: number, verdict?: Subtest['verdict']): void {
    this.#open.push({ name, depth, ...(verdict && { verdict }), points: 0, passed: 0, failed: 0 })
  }

  #point(depth: number, ok: boolean, text: string): void {
    const subtest = this.#open.at(-1)?.depth === depth ? this.#open.pop() : undefined
    const skipped = / # (skip|todo)/i.test(text)
    const count = { passed: subtest?.passed ?? 0, failed: subtest?.failed ?? 0 }
    let failure: Failure | undefined
    if (subtest ? subtest.points === 0 || (!ok && subtest.failed === 0) : !ok && !skipped) {
      const names = [...this.#open.map(open => open.name), nameOf(text)]
      const path = names.map(sourceOf)
      failure = {
        file: this.#open[0]?.name ?? subtest?.name,
        path: ok ? [...path, 'there is no test in it'] : path,
        details: [],
      }
      this.#failures.push(failure)
      this.failed++
      count.failed++
    } else if (!subtest && skipped) this.#skipped++
    else if (!subtest) {
      this.passed++
      count.passed++
    }
    this.#last = { failure }
    const parent = this.#open.at(-1)
    if (parent) {
      parent.points++
      parent.passed += count.passed
      parent.failed += count.failed
    } else if (subtest) this.#fileLine(subtest.name, count, / # time=([\d.]+)ms/.exec(text)?.[1])
  }

  #fileLine(file: string, count: Count, ms: string | undefined): void {
    this.#missing.delete(file)
    this.#counts.set(file, count)
    const sign = count.failed > 0 ? this.#paint(31, '✖') : this.#paint(32, '✔')
    const parts = [`${count.passed} passed`]
    if (count.failed > 0) parts.push(`${count.failed} failed`)
    if (ms !== undefined) {
      this.#seconds.set(file, Number(ms) / 1e3)
      parts.push(`${(Number(ms) / 1e3).toFixed(1)} s`)
    }
    this.#write(`${sign} ${sourceOf(file)}  ${parts.join(', ')}`)
  }

  #detail(line: string, indent: number): void {
    const text = line.slice(indent)
    if (text === '...' && line.slice(0, indent).trim() === '') {
      this.#detailIndent = undefined
      this.#last = undefined
    } else this.#last?.failure?.details.push(text)
  }

  #paint(code: number, text: string): string {
    return this.#colour ? `\u001b[${code}m${text}\u001b[0m` : text
  }
}

function sourceOf(file: string): string {
  return file.replace(/^dist\/(.*\.test)\.js$/, '$1.ts')
}

function nameOf(text: string): string {
  return unescaped(text.replace(/ # (time=|skip|todo).*$/i, ''))
}

function unescaped(text: string): string {
  return text.replace(/\\([\\#])/g, '$1')
}
