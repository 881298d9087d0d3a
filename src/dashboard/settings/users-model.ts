import { useEffect, useState } from 'preact/hooks'
import { ApiError } from '../api.js'
import { fetchUsers, type UserList } from './requests.js'
import { say } from './words.js'

/** A password or a key, which the hub has told once. */
export interface Secret {
  readonly title: string
  readonly text: string
}

/** The users, and what was done to them. A change is refused when the users file has been changed by others meanwhile. */
export class UsersModel {
  onChange: () => void = () => {}
  list: UserList | undefined
  note = ''
  trouble = ''
  secret: Secret | undefined
  #search = ''
  #question = 0

  /** Version of the users file that the shown list is of. */
  get version(): string {
    return this.list?.version ?? ''
  }

  async load(search = this.#search): Promise<void> {
    this.#search = search
    await this.#take(() => fetchUsers(search))
  }

  /** Adds the next page to the list. */
  async more(): Promise<void> {
    const { list } = this
    if (list?.next === undefined) return
    await this.#take(async () => {
      const page = await fetchUsers(this.#search, list.next)
      return { ...page, users: [...list.users, ...page.users] }
    })
  }

  /** Makes a change, says what was done or why not, and asks for the list again. Resolves with whether it was made. */
  async act(what: (version: string) => Promise<string>): Promise<boolean> {
    this.note = ''
    this.trouble = ''
    this.secret = undefined
    let trouble = ''
    try {
      this.note = await what(this.version)
    } catch (error) {
      const isChanged = error instanceof ApiError && error.status === 412
      trouble = isChanged ? say('users.changed') : say('failed', { why: (error as Error).message })
    }
    await this.load()
    this.trouble ||= trouble
    this.onChange()
    return trouble === ''
  }

  /** Shows a secret until it is put away. */
  tell(secret: Secret | undefined): void {
    this.secret = secret
    this.onChange()
  }

  async #take(load: () => Promise<UserList>): Promise<void> {
    const question = ++this.#question
    try {
      const list = await load()
      if (question === this.#question) this.list = list
    } catch (error) {
      this.trouble = say('failed', { why: (error as Error).message })
    }
    this.onChange()
  }
}

/** Returns the users of a part, which are asked for when the part is shown, and when the search changes. */
export function useUsers(search: string): UsersModel {
  const [model] = useState(() => new UsersModel())
  const [, setDrawn] = useState(0)
  useEffect(() => {
    model.onChange = () => setDrawn(drawn => drawn + 1)
    void model.load(search)
    return () => {
      model.onChange = () => {}
    }
  }, [search])
  return model
}
