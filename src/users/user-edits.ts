import { parseRule, quote, ruleText } from '../access/rules.js'
import { HubError } from '../errors.js'
import type { ApiKey, Pairing, RuleKind, Users } from './users.js'

/** Fields of a new user. */
export interface NewUser {
  readonly name: string
  readonly kind: RuleKind
  /** A hash. Empty: no password is accepted. */
  readonly password: string
  /** Text by `makeScram`. Undefined: SCRAM is not accepted. */
  readonly scram?: string
  readonly clients: readonly string[]
  readonly certificates: readonly string[]
  /** Rules such as `allow publish a/#`. */
  readonly rules: readonly string[]
}

/** A users file that can be changed. Implemented by `UsersFile`. A method that throws has changed nothing. */
export interface EditableUsers {
  /** Users before any change. */
  readonly before: Users
  addUser(user: NewUser): void
  setPassword(name: string, hash: string, scram?: string): void
  removeUser(name: string): void
  /** Returns false when the user has this rule already. */
  addRule(name: string, rule: string): boolean
  /** Returns false when the user has no such rule. */
  removeRule(name: string, rule: string): boolean
  addKey(name: string, key: ApiKey): void
  removeKey(name: string, id: string): void
  setPairing(name: string, pairing: Pairing): void
}

/** A change of the users file, as commands and the HTTP API ask for one. A plain value, which a thread can be sent. */
export type UserEdit =
  | { readonly do: 'add'; readonly user: NewUser }
  | { readonly do: 'password'; readonly name: string; readonly hash: string; readonly scram: string }
  | { readonly do: 'remove'; readonly name: string }
  /** Rules in the text of {@link ruleText}. */
  | { readonly do: 'rules'; readonly name: string; readonly add: readonly string[]; readonly remove: readonly string[] }
  | { readonly do: 'add key'; readonly name: string; readonly key: ApiKey }
  | { readonly do: 'remove key'; readonly name: string; readonly id: string }
  | { readonly do: 'pair'; readonly name: string; readonly pairing: Pairing; readonly device: NewDevice }

/** Client ids and rules of a device that does not exist yet. */
export interface NewDevice {
  readonly clients: readonly string[]
  readonly rules: readonly string[]
  /** Whether the caller has named some of them: that is refused for a device that exists. */
  readonly isGiven: boolean
}

/**
 * Applies an edit. Returns whether something is new: a user, a rule or a key that was not there before.
 *
 * @throws `HubError` `bad_request` or `not_found`; the file is then unchanged
 */
export function applyEdit(file: EditableUsers, edit: UserEdit): boolean {
  switch (edit.do) {
    case 'add':
      file.addUser(edit.user)
      return true
    case 'password':
      file.setPassword(edit.name, edit.hash, edit.scram)
      return false
    case 'remove':
      file.removeUser(edit.name)
      return false
    case 'rules':
      return changeRules(file, edit)
    case 'add key':
      file.addKey(edit.name, edit.key)
      return true
    case 'remove key':
      file.removeKey(edit.name, edit.id)
      return false
    case 'pair':
      return pair(file, edit)
  }
}

function changeRules(file: EditableUsers, { name, add, remove }: Extract<UserEdit, { do: 'rules' }>): boolean {
  // Checked before the first change, as an edit is made as a whole or not at all.
  const rules = file.before.users.get(name)?.rules.map(ruleText) ?? []
  const missing = remove.find(rule => !rules.includes(rule))
  if (file.before.users.has(name) && missing !== undefined) {
    const has = rules.length > 0 ? `it has ${rules.join(', ')}` : 'it has no rules'
    throw new HubError('not_found', `${name} has no rule ${quote(missing)}; ${has}`)
  }
  for (const rule of remove) file.removeRule(name, rule)
  return add.map(rule => file.addRule(name, rule)).some(isNew => isNew)
}

function pair(file: EditableUsers, { name, pairing, device }: Extract<UserEdit, { do: 'pair' }>): boolean {
  const known = file.before.users.get(name)
  if (known && known.kind !== 'device') {
    throw new HubError('bad_request', `${name} is ${article(known.kind)}, and only devices can be paired`)
  }
  if (known && device.isGiven) {
    throw new HubError(
      'bad_request',
      `the device ${name} already exists: rules and client ids are for new ones; telehub user grant adds rules`,
    )
  }
  const { clients, rules } = device
  if (!known) file.addUser({ name, kind: 'device', password: '', clients, certificates: [], rules })
  file.setPairing(name, pairing)
  return !known
}

/** Returns rules in their usual form, each once. Throws `bad_request` with what is wrong in the first that is wrong. */
export function checkedRules(given: readonly string[]): string[] {
  const rules = given.map(text => {
    const rule = parseRule(text)
    if (typeof rule === 'string') throw new HubError('bad_request', rule)
    return ruleText(rule)
  })
  return [...new Set(rules)]
}

export const article = (kind: RuleKind) => `${kind === 'admin' ? 'an' : 'a'} ${kind}`
