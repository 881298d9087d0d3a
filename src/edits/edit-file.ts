import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readYamlText } from '../config/config.js'
import { setAside } from '../disk/damaged.js'
import { type Files, nodeFiles, readWholeSync } from '../disk/files.js'
import { replaceFile } from '../disk/replace-file.js'
import { WatchedFiles } from '../disk/watched-files.js'
import { describe, HubError } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import { difference, isJsonMap, type JsonMap, merged } from './merge.js'

export { isJsonMap, type JsonMap } from './merge.js'

/** Is told when the edits have changed. */
export interface EditFollower {
  editsChanged(): void
}

/** A mistake, and where in the value it is. */
export interface EditMistake {
  readonly path: readonly (string | number)[]
  readonly sentence: string
}

/** A kind of edits, in a file of its own. */
export interface EditKind {
  /** Name of the file, without `.json`. */
  readonly name: string
  /** Noun for people, in the plural: the edits of the screen. */
  readonly noun: string
  /** Kind of the incident of a damaged file. */
  readonly incident: string
  /** Returns all mistakes of a value: a person who has edited the file mends them at once. */
  mistakesIn(value: unknown): readonly EditMistake[]
  /** Returns the words for where a mistake is; empty when its sentence says that. */
  describe(path: EditMistake['path']): string
  /** Returns what a patch changes, in a few words. */
  changesOf(patch: JsonMap, before: JsonMap): string
}

export interface EditFileOptions {
  /** Data directory. */
  readonly dir: string
  readonly kind: EditKind
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
  readonly files?: Files
}

/** One change, with the patch that takes it back. */
interface EditChange {
  readonly revision: number
  readonly by: string
  readonly at: number
  readonly what: string
  readonly undo: JsonMap
}

/** The file with the last changes. */
interface ChangeHistory {
  /** Revision of the edits to which the changes lead. */
  readonly revision: number
  readonly changes: readonly EditChange[]
  /** The change that was undone to come there. */
  readonly removed?: EditChange
}

/** A change that somebody asks for. */
export interface AskedChange {
  readonly by: string
  /** ETag that the edits must have. Undefined: any. */
  readonly match: string | undefined
}

const maxBytes = 16e6
/** Most changes that an answer names. */
const maxNamed = 20
/** Changes that can be undone. */
const maxChanges = 50
/** Most characters of these together. */
const maxChangeCharacters = 4e6

/**
 * Edits that people make over the API or by hand, in two files of the data directory. Of the kind `boards`:
 *
 *     boards.json          what is in force; people may edit it, and all their mistakes are told at once
 *     boards.history.json  the last changes, to be undone; written before boards.json
 *
 * A change is in force once boards.json is on disk. After a kill between the two writes the history is that of a
 * revision beyond boards.json: a change that is not in force is dropped, and one that was being undone is still there.
 */
export class EditFile implements Part {
  readonly name: string
  readonly path: string
  readonly #history: string
  readonly #options: EditFileOptions
  readonly #files: Files
  readonly #watched: WatchedFiles
  readonly #queue = new SerialQueue()
  #follower: EditFollower | undefined
  #edits: JsonMap = {}
  #revision = 0
  #text = ''
  /** Beginning of the hash of the text. */
  #digest = digestOf('')
  #changes: readonly EditChange[] = []
  #mistakes: readonly string[] = []

  constructor(options: EditFileOptions) {
    const { name } = options.kind
    this.name = name
    this.#options = options
    this.#files = options.files ?? nodeFiles
    this.path = join(options.dir, `${name}.json`)
    this.#history = join(options.dir, `${name}.history.json`)
    this.#watched = new WatchedFiles({ paths: [this.path], changed: () => this.#reload() })
  }

  reportTo(follower: EditFollower): void {
    this.#follower = follower
  }

  get edits(): JsonMap {
    return this.#edits
  }

  get changes(): readonly Omit<EditChange, 'undo'>[] {
    return this.#changes.map(({ undo: _, ...change }) => change)
  }

  get mistakes(): readonly string[] {
    return this.#mistakes
  }

  get revision(): number {
    return this.#revision
  }

  /** Entity tag of what is in force: also a file that a person has changed has another. */
  get etag(): string {
    return `"${this.#revision}-${this.#digest}"`
  }

  /** Returns what answers about the edits say of their history, to somebody who may change them or not. */
  historyFor(mayEdit: boolean) {
    return {
      revision: this.etag,
      mayEdit,
      undo: mayEdit ? this.#changes.length : 0,
      changes: [...this.changes].reverse().slice(0, maxNamed),
      mistakes: mayEdit ? this.#mistakes : [],
    }
  }

  /** Reads the file. One that cannot be used is set aside, and the hub starts without. */
  start(): void {
    this.#watched.start()
    try {
      mkdirSync(dirname(this.path), { recursive: true })
      const { edits, mistakes, text } = this.#read()
      if (edits) this.#take(edits, text)
      else if (mistakes.length > 0) throw new Error(mistakes.join('; '))
    } catch (error) {
      const { noun, incident } = this.#options.kind
      const text = `${noun} cannot be used (${describe(error)}); ${setAside(this.path, this.#files)}`
      this.#options.incidents.report(incident, text)
      this.#options.log.warn(text)
    }
    this.#readHistory()
  }

  async stop(): Promise<void> {
    this.#watched.stop()
    await this.#queue.idle()
  }

  /** Sentence while the file has mistakes. */
  alarm(): string | undefined {
    const [first, ...more] = this.#mistakes
    if (first === undefined) return undefined
    return `${first}${more.length > 0 ? `; and ${more.length} more mistakes` : ''}; ${this.#options.kind.noun} from before stay in force`
  }

  /** Merges a patch. Resolves when that is on disk. Rejects with `busy`, `changed` or `bad_request`. */
  patch(given: JsonMap, asked: AskedChange): Promise<void> {
    return this.#change(asked, () => ({ patch: given, what: this.#options.kind.changesOf(given, this.#edits) }))
  }

  /** Takes the last change back. Resolves when that is on disk. Rejects with `not_found`, `busy` or `changed`. */
  undo(asked: AskedChange): Promise<void> {
    return this.#change(asked, () => {
      const last = this.#changes.at(-1)
      if (!last)
        throw new HubError('not_found', 'there is no change that could be undone', {
          said: { code: 'nothing-to-undo', values: {} },
        })
      return { patch: last.undo, what: `undone: ${last.what}`, isUndo: true }
    })
  }

  /** Merges a patch that is no change that others could undo. Resolves when that is on disk. */
  patchQuietly(patch: JsonMap): Promise<void> {
    return this.#queue.run(async () => {
      this.#refuseWithMistakes()
      await this.#write(merged(this.#edits, patch), this.#revision, this.#changes)
    })
  }

  #change(
    { by, match }: AskedChange,
    make: () => { readonly patch: JsonMap; readonly what: string; readonly isUndo?: boolean },
  ): Promise<void> {
    return this.#queue.run(async () => {
      this.#refuseWithMistakes()
      if (match !== undefined && match !== '*' && match !== this.etag) throw this.#changed()
      const { patch, what, isUndo } = make()
      const next = merged(this.#edits, patch)
      const { kind } = this.#options
      const mistakes = kind.mistakesIn(next).map(one => sentenceOf(kind, one))
      if (mistakes.length > 0) throw new HubError('bad_request', mistakes.join('; '))
      if (JSON.stringify(next).length > maxBytes)
        throw new HubError('too_large', `${kind.noun} would be larger than ${maxBytes / 1e6} MB`)
      const revision = this.#revision + 1
      const change = { revision, by, at: Date.now(), what, undo: difference(next, this.#edits) }
      const changes = isUndo ? this.#changes.slice(0, -1) : bounded([...this.#changes, change])
      await this.#write(next, revision, changes)
      if (isUndo) this.#options.log.info(`${what} (by ${by || 'somebody without a login'})`)
    })
  }

  #refuseWithMistakes(): void {
    // Written now, what the person is working on would be lost.
    const [first] = this.#mistakes
    if (first !== undefined)
      throw new HubError('busy', `${first}; mend the file first`, {
        said: { code: 'file-wrong', values: { mistake: first } },
      })
  }

  #changed(): HubError {
    const last = this.#changes.at(-1)
    const who = last
      ? `${last.by || 'somebody'} changed ${last.what} at ${new Date(last.at).toISOString()}`
      : `${this.path} was edited`
    return new HubError(
      'changed',
      `${this.#options.kind.noun} are others by now: ${who}; get them again, and repeat your change`,
      { said: { code: 'changed-by', values: { by: last?.by ?? '' } } },
    )
  }

  async #write(edits: JsonMap, revision: number, changes: readonly EditChange[]): Promise<void> {
    const files = this.#files
    const text = `${JSON.stringify({ revision, ...edits }, null, 2)}\n`
    if (changes !== this.#changes) {
      const last = this.#changes.at(-1)
      const removed = last && !changes.includes(last) && changes.length < this.#changes.length ? last : undefined
      await replaceFile(this.#history, JSON.stringify({ revision, changes, removed }), { files })
    }
    await replaceFile(this.path, text, { files })
    this.#edits = edits
    this.#revision = revision
    this.#changes = changes
    this.#setText(text)
    this.#follower?.editsChanged()
  }

  #reload(): void {
    void this.#queue.run(async () => {
      const before = this.#mistakes.length
      const { edits, mistakes, text } = this.#read()
      // The hub's own writes are seen, too.
      if (text === this.#text && before === 0) return
      this.#mistakes = mistakes
      if (mistakes.length > 0) {
        this.#options.log.warn(`${this.#options.kind.noun} are not taken: ${mistakes.join('; ')}`)
        return
      }
      this.#take(edits ?? {}, text)
      this.#options.log.info(`${this.#options.kind.noun} of ${this.path} are in force`)
      this.#follower?.editsChanged()
    })
  }

  #take({ revision, ...edits }: JsonMap, text: string): void {
    this.#edits = edits
    this.#revision = Math.max(this.#revision, typeof revision === 'number' ? revision : 0)
    this.#setText(text)
  }

  #setText(text: string): void {
    this.#text = text
    this.#digest = digestOf(text)
  }

  /** Reads the file. No file, no edits. */
  #read(): { readonly edits?: JsonMap; readonly mistakes: readonly string[]; readonly text: string } {
    let text: string
    try {
      const bytes = readWholeSync(this.path, this.#files)
      if (bytes === undefined) return { edits: {}, mistakes: [], text: '' }
      if (bytes.length > maxBytes) return { mistakes: [`${this.path} is larger than ${maxBytes / 1e6} MB`], text: '' }
      text = bytes.toString('utf8')
    } catch (error) {
      return { mistakes: [`${this.path} cannot be read: ${describe(error)}`], text: '' }
    }
    const { value, mistakes, lineOf } = readYamlText(text)
    if (mistakes.length > 0) {
      return { mistakes: mistakes.map(({ line, sentence }) => `${this.path} line ${line}: ${sentence}`), text }
    }
    const { kind } = this.#options
    const found = kind
      .mistakesIn(value ?? {})
      .map(one => `${this.path} line ${lineOf(one.path)}: ${sentenceOf(kind, one)}`)
    return found.length > 0 ? { mistakes: found, text } : { edits: (value ?? {}) as JsonMap, mistakes: [], text }
  }

  /** Reads what can be undone. A history that cannot be read takes only that away. */
  #readHistory(): void {
    try {
      const bytes = readWholeSync(this.#history, this.#files)
      if (bytes === undefined) return
      const { revision, changes, removed } = JSON.parse(bytes.toString('utf8')) as ChangeHistory
      const isWhole = ({ revision, by, at, what, undo }: EditChange) =>
        [revision, at].every(Number.isFinite) && [by, what].every(one => typeof one === 'string') && isJsonMap(undo)
      if (!Array.isArray(changes) || !changes.every(isWhole)) throw new Error('it holds no changes')
      // An undo that is not in force has taken a change away that still is.
      const all = removed && isWhole(removed) && revision > this.#revision ? [...changes, removed] : changes
      this.#changes = all.filter(one => one.revision <= this.#revision)
    } catch (error) {
      const text = `${this.#history} cannot be read (${describe(error)}): the last changes cannot be undone; ${setAside(this.#history, this.#files)}`
      this.#options.incidents.report(this.#options.kind.incident, text)
    }
  }
}

function sentenceOf(kind: EditKind, { path, sentence }: EditMistake): string {
  return [kind.describe(path), sentence].filter(Boolean).join(': ')
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}

function bounded(changes: readonly EditChange[]): readonly EditChange[] {
  const kept = changes.slice(-maxChanges)
  let characters = 0
  let from = kept.length
  while (from > 0) {
    characters += JSON.stringify(kept[from - 1]).length
    if (characters > maxChangeCharacters && from < kept.length) break
    from--
  }
  return kept.slice(from)
}
