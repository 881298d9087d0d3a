import { existsSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { type Document, isMap, isSeq, type Node, type Pair, YAMLMap, YAMLSeq } from 'yaml'
import { parseRule, ruleText } from '../access/rules.js'
import { replaceFileSync } from '../disk/replace-file.js'
import { describe, HubError, systemCode } from '../errors.js'
import { hashSecret, isSameText, makeSecret } from '../passwords/passwords.js'
import { makeScram } from '../passwords/scram.js'
import { withFileLock } from './file-lock.js'
import type { EditableUsers, NewUser } from './user-edits.js'
import {
  type ApiKey,
  hashPairingCode,
  nameOf,
  type Pairing,
  parseUsers,
  readDocument,
  readUsersText,
  textOf,
  type User,
  type Users,
  versionOf,
} from './users.js'

export { explain, type Question } from './explain.js'
export { applyEdit, article, checkedRules, type NewDevice, type NewUser, type UserEdit } from './user-edits.js'

const heading =
  ' telehub: users and their rules. Written by `telehub user`; can be edited, and changes apply within a second or two.'

/**
 * Changes the users file, which is created when missing. Comments and what is not changed stay. Resolves with the
 * result of `edit` when the new file is on disk, of mode 0600. Rejects with the old file unchanged. One edit at a time
 * over all processes: `edit` sees the result of the edit before.
 *
 * @param version The file as the caller knows it, by `versionOf`. Rejects with `changed` when the file is another one.
 */
export async function editUsers<T>(path: string, edit: (file: UsersFile) => T, version?: string): Promise<T> {
  const real = realPath(path)
  return withFileLock(`${real}.lock`, check => {
    const before = readUsersText(real)
    if (version !== undefined && version !== versionOf(before)) {
      throw new HubError('changed', `${path} has been changed meanwhile; look at it again, then repeat your change`, {
        said: { code: 'changed-by', values: { by: '' } },
      })
    }
    const file = new UsersFile(before, basename(path))
    const result = edit(file)
    const text = file.changed()
    if (text !== undefined) {
      const read = parseUsers(text, basename(path))
      if ('faults' in read) throw new HubError('bad_request', `${path} was not changed: ${read.faults.join('\n')}`)
      check()
      replaceUsers(real, text)
    }
    return result
  })
}

/** Returns the user of a code that is still valid. Compares every pairing, in constant time. */
export function findPairing({ users }: Users, code: string, now: number): User | undefined {
  const hash = hashPairingCode(code)
  let found: User | undefined
  for (const user of users.values()) {
    if (user.pairing && isSameText(user.pairing.hash, hash) && now < user.pairing.expires) found = user
  }
  return found
}

/** A users file during a change. A method that throws has changed nothing. */
export class UsersFile implements EditableUsers {
  /** Users before any change. */
  readonly before: Users
  readonly #name: string
  readonly #text: string
  readonly #document: Document
  #isChanged = false

  /** Throws the faults of the text. */
  constructor(text: string, name: string) {
    const { document, users, faults } = readDocument(text, name)
    if (faults.length > 0) throw new HubError('bad_settings', faults.join('\n'))
    this.before = users
    this.#name = name
    this.#text = text
    this.#document = document
  }

  /** Returns the text to write. Undefined when nothing has changed. */
  changed(): string | undefined {
    if (!this.#isChanged) return undefined
    const isFlush = /^( *)[\w.@-]+:[^\S\n]*(#.*)?\n\1- /m.test(this.#text)
    const indent = /^[\w-]+:[^\S\n]*(?:#.*)?\n(?:\s*#.*\n)*( +)[^\s#-]/m.exec(this.#text)?.[1]?.length ?? 2
    return this.#document.toString({ indent, indentSeq: !isFlush, lineWidth: 0, flowCollectionPadding: false })
  }

  addUser({ name, kind, password, scram, clients, certificates, rules }: NewUser): void {
    const users = this.#users()
    if (pairOf(users, name)) throw new HubError('bad_request', `user ${name} already exists in ${this.#name}`)
    const user = this.#document.createNode({
      kind,
      ...(password && { password }),
      ...(scram && { scram }),
      ...(clients.length > 0 && { clients }),
      ...(certificates.length > 0 && { certificates }),
      ...(rules.length > 0 && { rules }),
    }) as YAMLMap
    for (const field of ['clients', 'certificates']) {
      const list = pairOf(user, field)?.value
      if (isSeq(list)) list.flow = true
    }
    this.#append(users, name, user)
  }

  /**
   * Replaces the password: what clients of the user authenticated with before is void. An empty hash: no password is
   * accepted. Without `scram`, SCRAM is not accepted either, even if accepted before.
   */
  setPassword(name: string, hash: string, scram = ''): void {
    const user = this.#user(name)
    this.#set(user, 'password', hash)
    if (scram) this.#set(user, 'scram', scram)
    else this.#remove(user, 'scram')
  }

  removeUser(name: string): void {
    this.#user(name)
    this.#remove(this.#users(), name)
  }

  /** Returns false when the user has this rule already. */
  addRule(name: string, rule: string): boolean {
    const user = this.#user(name)
    if (this.#ruleAt(user, rule) >= 0) return false
    this.#push(user, 'rules', this.#document.createNode(rule))
    return true
  }

  /** Returns false when the user has no such rule. */
  removeRule(name: string, rule: string): boolean {
    const user = this.#user(name)
    const at = this.#ruleAt(user, rule)
    if (at < 0) return false
    this.#take(user, 'rules', at)
    return true
  }

  addKey(name: string, { id, label, hash, created }: ApiKey): void {
    const key = this.#flow({ id, label, hash, created: timeText(created) })
    this.#push(this.#user(name), 'keys', key)
  }

  removeKey(name: string, id: string): void {
    const user = this.#user(name)
    const at = itemsOf(user, 'keys').findIndex(key => isMap(key) && textOf(pairOf(key as YAMLMap, 'id')?.value) === id)
    if (at < 0)
      throw new HubError('not_found', `user ${name} has no key ${id}; telehub user key list ${name} shows all`)
    this.#take(user, 'keys', at)
  }

  /** Replaces the pairing, if any. */
  setPairing(name: string, { hash, expires }: Pairing): void {
    this.#set(this.#user(name), 'pairing', this.#flow({ hash, expires: timeText(expires) }))
  }

  /**
   * Turns a code into credentials, once: the user gets a new password, which only the caller knows. The password is
   * good for SCRAM if the one before was, which takes tens of milliseconds: call this off the broker thread.
   */
  redeemPairing(code: string, now: number): { readonly user: User; readonly password: string } {
    const user = findPairing(this.before, code, now)
    if (!user) {
      throw new HubError(
        'forbidden',
        'this code is wrong, already used, or expired; telehub device pair makes a new one',
      )
    }
    const password = makeSecret()
    this.setPassword(user.name, hashSecret(password), user.scram && makeScram(password))
    this.#remove(this.#user(user.name), 'pairing')
    return { user, password }
  }

  /** Returns the map of the users, created when missing. */
  #users(): YAMLMap {
    const { contents } = this.#document
    if (!isMap(contents)) {
      const comment = contents?.commentBefore ?? this.#document.commentBefore ?? heading
      this.#document.contents = new YAMLMap()
      this.#document.commentBefore = comment
    }
    const root = this.#document.contents as unknown as YAMLMap
    const users = pairOf(root, 'users')
    if (users && isMap(users.value)) return users.value as YAMLMap
    const made = new YAMLMap()
    if (users) users.value = made
    else root.add(this.#document.createPair('users', made))
    return made
  }

  #user(name: string): YAMLMap {
    const user = pairOf(this.#users(), name)?.value
    if (isMap(user)) return user as YAMLMap
    throw new HubError('not_found', `there is no user ${name} in ${this.#name}; telehub user list shows all`, {
      said: { code: 'no-user', values: { user: name } },
    })
  }

  #ruleAt(user: YAMLMap, wanted: string): number {
    return itemsOf(user, 'rules').findIndex(item => {
      const rule = parseRule(textOf(item) ?? '')
      return typeof rule !== 'string' && ruleText(rule) === wanted
    })
  }

  #flow(value: object): Node {
    const node = this.#document.createNode(value) as YAMLMap
    node.flow = true
    return node
  }

  #set(map: YAMLMap, field: string, value: unknown): void {
    const pair = pairOf(map, field)
    const node = typeof value === 'string' ? this.#document.createNode(value) : (value as Node)
    if (!pair) this.#append(map, field, node)
    else {
      const old = pair.value as Node | null
      if (old?.comment) node.comment = old.comment
      pair.value = node
    }
    this.#isChanged = true
  }

  /** Appends at the end, where people look for new entries. */
  #append(map: YAMLMap, field: string, value: unknown): void {
    // A map written as {} would grow into one long line.
    if (map.items.length === 0) map.flow = false
    map.items.push(this.#document.createPair(field, value))
    this.#isChanged = true
  }

  #remove(map: YAMLMap, field: string): void {
    map.items = map.items.filter(pair => nameOf(pair.key) !== field)
    this.#isChanged = true
  }

  #push(map: YAMLMap, field: string, item: Node): void {
    const list = pairOf(map, field)?.value
    if (isSeq(list)) {
      if (list.items.length === 0) list.flow = false
      list.items.push(item)
      this.#isChanged = true
      return
    }
    const made = new YAMLSeq()
    made.items.push(item)
    this.#set(map, field, made)
  }

  /** Removes an item, and a list that becomes empty. */
  #take(map: YAMLMap, field: string, at: number): void {
    const items = itemsOf(map, field)
    items.splice(at, 1)
    if (items.length === 0) this.#remove(map, field)
    this.#isChanged = true
  }
}

/** Finds a pair by the text of the key: a key written as 123 or true is a name, too. */
function pairOf(map: YAMLMap, key: string): Pair | undefined {
  return map.items.find(pair => nameOf(pair.key) === key)
}

function itemsOf(map: YAMLMap, field: string): unknown[] {
  const list = pairOf(map, field)?.value
  return isSeq(list) ? list.items : []
}

const timeText = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

/** Returns the file itself when the path is a link: the link must stay one. */
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      const folder = dirname(resolve(path))
      if (existsSync(folder)) return path
      throw new HubError(
        'data_dir_unusable',
        `${path}: the folder ${folder} does not exist; create it first, or choose another file in auth.file`,
        { cause: error },
      )
    }
    throw new HubError('data_dir_unusable', `cannot open ${path}: ${describe(error)}`, { cause: error })
  }
}

/** Leaves the new text or the old one, whatever happens meanwhile. Only the holder of the lock may call this. */
function replaceUsers(path: string, text: string): void {
  try {
    const old = statSync(path, { throwIfNoEntry: false })
    // Root may change the file for the hub, which must be able to read the file afterwards.
    const isOthers = old && (old.uid !== process.geteuid?.() || old.gid !== process.getegid?.())
    replaceFileSync(path, text, { owner: isOthers ? old : undefined })
  } catch (error) {
    const mounted = systemCode(error) === 'EBUSY' ? '; mount its folder into the container, not the file alone' : ''
    throw new HubError(
      'data_dir_unusable',
      `${path} was not changed, as it cannot be written: ${describe(error)}${mounted}`,
      {
        cause: error,
      },
    )
  }
}
