import { readFileSync, renameSync } from 'node:fs'
import { replaceFile } from '../../disk/replace-file.js'
import { systemCode } from '../../errors.js'

/** What became of rows: `rows` is the sum of the others. */
export interface ImportCounts {
  readonly rows: number
  readonly stored: number
  /** Refused, each with a reason that the command reports. */
  readonly dead: number
  /** No readings, or thinned out by the rule. */
  readonly ignored: number
}

/** A row that was refused. */
export interface ImportMistake {
  /** Number of the line in the file. */
  readonly line: number
  readonly reason: string
  readonly detail: string
}

/** An import, as kept on disk. Times in milliseconds since the epoch. */
export interface ImportRecord extends ImportCounts {
  readonly file: string
  readonly user: string
  readonly begunAt: number
  readonly at: number
  /** Number of the batch that comes next, from 1 on. */
  readonly next: number
  /** Where that batch begins, in the words of the command. */
  readonly position: string
  readonly isFinished: boolean
  /** Refused rows of the last batch: the command may not have heard of them. */
  readonly mistakes: readonly ImportMistake[]
}

interface KeptImports {
  readonly format: 1
  readonly jobs: Readonly<Record<string, ImportRecord>>
  /** Sums of the imports that are no longer listed. */
  readonly older: ImportCounts
}

/** Imports that are remembered one by one. */
const mostJobs = 200

const none: ImportCounts = { rows: 0, stored: 0, dead: 0, ignored: 0 }

/**
 * The progress of imports in one file, with their counts: a batch counts when this file says so, and then it is
 * stored. So a batch that is sent twice, as after a kill, counts once.
 */
export class ImportJournal {
  readonly #path: string
  readonly #jobs = new Map<string, ImportRecord>()
  #older = none

  constructor(path: string) {
    this.#path = path
  }

  /** Reads the file. A damaged one is set aside: imports begin anew, which changes nothing that is stored. */
  start(): void {
    let text: string
    try {
      text = readFileSync(this.#path, 'utf8')
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return
      throw error
    }
    try {
      const { jobs, older } = JSON.parse(text) as KeptImports
      for (const [job, record] of Object.entries(jobs)) this.#jobs.set(job, record)
      this.#older = { ...none, ...older }
    } catch {
      renameSync(this.#path, `${this.#path}.damaged`)
    }
  }

  get(job: string): ImportRecord | undefined {
    return this.#jobs.get(job)
  }

  /** Sums of all imports. */
  get totals(): ImportCounts {
    return [...this.#jobs.values()].reduce(sum, this.#older)
  }

  /** Resolves when the record is on disk. */
  async put(job: string, record: ImportRecord): Promise<void> {
    const before = this.#jobs.get(job)
    const jobs = new Map(this.#jobs)
    jobs.delete(job)
    jobs.set(job, record)
    let older = this.#older
    for (const [name, oldest] of jobs) {
      if (jobs.size <= mostJobs) break
      jobs.delete(name)
      older = sum(older, oldest)
    }
    // An import that begins anew is another one.
    if (before && record.next < before.next) older = sum(older, before)
    const kept: KeptImports = { format: 1, jobs: Object.fromEntries(jobs), older }
    await replaceFile(this.#path, JSON.stringify(kept))
    this.#jobs.clear()
    for (const [name, one] of jobs) this.#jobs.set(name, one)
    this.#older = older
  }
}

function sum(a: ImportCounts, b: ImportCounts): ImportCounts {
  return {
    rows: a.rows + b.rows,
    stored: a.stored + b.stored,
    dead: a.dead + b.dead,
    ignored: a.ignored + b.ignored,
  }
}
