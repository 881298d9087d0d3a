import { ApiError, type Boards, type BoardsPatch, fetchBoards, patchBoards, undoBoards } from '../api.js'
import type { HomeDevice } from '../home/catalogue.js'
import { clockText } from '../home/format.js'
import type { HomeModel } from '../home/model.js'
import { nameText } from '../wording.js'
import { type DeviceEdit, editsOf, type Move, overlaps, toldOf } from './changes.js'
import { say } from './words.js'

/** How a change ended. `conflict`: somebody else has changed the same meanwhile, and theirs is shown. */
export type Outcome = 'saved' | 'conflict' | 'failed'

export interface Note {
  readonly tone: 'quiet' | 'active' | 'alert'
  readonly text: string
}

type Change = Boards['changes'][number]

/** Attempts of a change that collides with changes of something else. */
const attempts = 5

/** The edits of the screen while a person changes them: saved at once, and only over what that person has seen. */
export class Editor {
  readonly #model: HomeModel
  boards: Boards | undefined
  note: Note | undefined
  isBusy = false
  /** Revisions that this page has made. */
  readonly #own = new Set<number>()
  #saving: Promise<unknown> = Promise.resolve()
  #isFetching = false
  /** Revision of the edits in the catalogue for which was last asked. */
  #asked: string | undefined
  /** Called when what is shown may have changed. */
  onChange: (() => void) | undefined

  constructor(model: HomeModel) {
    this.#model = model
  }

  /** The last change, which an undo takes back. */
  get last(): Change | undefined {
    return this.boards?.changes[0]
  }

  editOf(device: HomeDevice): DeviceEdit {
    return this.boards?.devices[editsOf(device)] ?? {}
  }

  /** Fetches the edits, unless those that are here are in the catalogue already. */
  async refresh(): Promise<void> {
    const { edits } = this.#model.catalogue ?? {}
    if (this.#isFetching || this.isBusy || edits === this.#asked) return
    this.#asked = edits
    if (this.boards?.revision === edits) return
    this.#isFetching = true
    try {
      this.#take(await fetchBoards())
    } catch (error) {
      this.#say('alert', say('failed', { why: (error as Error).message }))
    } finally {
      this.#isFetching = false
    }
  }

  /** Saves a change after those before. Never rejects: what went wrong is in `note`. */
  save(patch: BoardsPatch, done: string = say('saved')): Promise<Outcome> {
    return this.#inTurn(async () => {
      let others: Note | undefined
      for (let left = attempts; left > 0; left--) {
        const before = this.boards ?? (await fetchBoards())
        try {
          this.#keep(await patchBoards(patch, before.revision))
          this.note = others ?? { tone: 'quiet', text: done }
          return 'saved'
        } catch (error) {
          if (!(error instanceof ApiError) || error.status !== 412) throw error
          const after = await fetchBoards()
          this.boards = after
          const what = this.#whoChanged(after.changes[0])
          if (overlaps(patch, before, after)) {
            this.#say('alert', say('conflict', { what }))
            return 'conflict'
          }
          // Something else was changed: both stay.
          others = { tone: 'active', text: say('both', { what }) }
        }
      }
      throw new Error(say('busy'))
    })
  }

  /** Shows a move at once, then saves the patch. */
  move({ catalogue, patch }: Move, done: string): Promise<Outcome> {
    const saved = this.save(patch, done)
    this.#model.showAs(catalogue, saved)
    return saved
  }

  undo(): Promise<Outcome> {
    return this.#inTurn(async () => {
      const { boards } = this
      const [last] = boards?.changes ?? []
      if (!boards) return 'failed'
      try {
        const what = last ? this.sentenceOf(last) : ''
        this.#keep(await undoBoards(boards.revision))
        this.#say('quiet', what === '' ? say('undone-plain') : say('undone', { what }))
        return 'saved'
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 412) throw error
        this.boards = await fetchBoards()
        this.#say('alert', say('undo-conflict', { what: this.#whoChanged(this.last) }))
        return 'conflict'
      }
    })
  }

  /** Returns what a change is about: “Freezer: name”. */
  sentenceOf({ what }: Pick<Change, 'what'>): string {
    const { device, board, member, more } = toldOf(what, this.#model.catalogue?.devices ?? [])
    const word = Object.hasOwn(members, member) ? say(members[member as keyof typeof members]) : nameText(member)
    const name = board === undefined ? device?.name : (this.boards?.boards[board]?.name ?? '')
    return `${name ? `${nameText(name)}: ` : ''}${word}${more ? ' …' : ''}`
  }

  /** Whether a change was made by somebody else, or on another page. */
  isForeign({ revision }: Change): boolean {
    return !this.#own.has(revision)
  }

  tell(text: string): void {
    this.#say('quiet', text)
  }

  #whoChanged(change: Change | undefined): string {
    if (!change) return say('somebody')
    const who = change.by === '' ? say('somebody') : nameText(change.by)
    return say('who-changed', { who, what: this.sentenceOf(change), time: clockText(change.at) })
  }

  #inTurn(act: () => Promise<Outcome>): Promise<Outcome> {
    const turn = this.#saving.then(async () => {
      this.isBusy = true
      this.onChange?.()
      try {
        return await act()
      } catch (error) {
        this.#say('alert', say('failed', { why: (error as Error).message }))
        return 'failed' as const
      } finally {
        this.isBusy = false
        this.#model.structureChanged()
        this.onChange?.()
      }
    })
    this.#saving = turn
    return turn
  }

  #keep(boards: Boards): void {
    const [last] = boards.changes
    if (last) this.#own.add(last.revision)
    this.boards = boards
    this.#model.takeBoards(boards)
  }

  #take(boards: Boards): void {
    const [last] = boards.changes
    const before = this.boards ? (this.last?.revision ?? 0) : Infinity
    this.boards = boards
    if (last && last.revision > before && this.isForeign(last)) this.#say('active', `${this.#whoChanged(last)}.`)
    else this.onChange?.()
  }

  #say(tone: Note['tone'], text: string): void {
    this.note = { tone, text }
    this.onChange?.()
  }
}

const members = {
  name: 'member.name',
  area: 'member.area',
  order: 'member.order',
  hidden: 'member.hidden',
  icon: 'member.icon',
  main: 'member.main',
  values: 'member.values',
  areas: 'member.areas',
  boards: 'member.boards',
} as const
