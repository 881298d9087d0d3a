import { ApiError } from '../api.js'
import type { Shell } from '../pages.js'
import { type BanList, type ClientsAnswer, fetchBans, fetchClients, type Sort } from './requests.js'
import { say } from './words.js'

/** The state of the page Clients. */
export class ClientsModel {
  readonly shell: Shell
  onChange: () => void = () => {}
  answer: ClientsAnswer | undefined
  bans: BanList | undefined
  sort: Sort = 'name'
  search = ''
  note = ''
  trouble = ''
  #isAsking = false
  #isAgain = false
  #ticks = 0

  constructor(shell: Shell) {
    this.shell = shell
  }

  get mayChange(): boolean {
    return this.shell.session?.mayChange === true
  }

  show(): Promise<void> {
    return this.load()
  }

  tick(): void {
    if (this.#ticks++ % 2 === 0) void this.load()
  }

  find(text: string): void {
    this.search = text.trim()
    void this.load()
  }

  sortBy(sort: Sort): void {
    this.sort = sort
    this.onChange()
    void this.load()
  }

  /** Does something, says what was done or why not, and asks for the list again. */
  async act(what: () => Promise<string>): Promise<void> {
    this.note = ''
    this.trouble = ''
    try {
      this.note = await what()
    } catch (error) {
      this.trouble = say('failed', { why: (error as Error).message })
    }
    await this.load()
  }

  async load(): Promise<void> {
    if (this.#isAsking) {
      this.#isAgain = true
      return
    }
    this.#isAsking = true
    try {
      this.answer = await fetchClients(this.search, this.sort)
      if (this.mayChange) this.bans = await fetchBans()
    } catch (error) {
      const isForbidden = error instanceof ApiError && error.status === 403
      this.trouble = isForbidden ? say('forbidden') : say('failed', { why: (error as Error).message })
    }
    this.#isAsking = false
    this.onChange()
    if (this.#isAgain) {
      this.#isAgain = false
      void this.load()
    }
  }
}
