import { type AccessRule, ruleText } from '../access/rules.js'
import type { User, Users } from './users.js'

/** Returns what has changed in a users file, for operators: a sentence for each user, without secrets. */
export function userChanges(before: Users, after: Users): string[] {
  const changes: string[] = []
  for (const [name, { kind }] of before.users) {
    if (!after.users.has(name)) changes.push(`removed user ${name} (${kind})`)
  }
  for (const [name, user] of after.users) {
    const old = before.users.get(name)
    if (!old) changes.push(`added user ${name} (${user.kind})`)
    else {
      const fields = changedFields(old, user)
      if (fields.length > 0) changes.push(`changed user ${name}: ${fields.join(', ')}`)
    }
  }
  if (!isSame(before.everyone.map(ruleText), after.everyone.map(ruleText)))
    changes.push('changed the rules of everyone')
  return changes
}

/** Texts that differ exactly when the field has changed. A rule that moved to another line is the same rule. */
const fieldTexts: Readonly<Record<string, (user: User) => readonly unknown[]>> = {
  kind: ({ kind }) => [kind],
  password: ({ password, scram }) => [password, scram],
  'API keys': ({ keys }) => keys.map(({ id, hash }) => `${id} ${hash}`),
  'pairing code': ({ pairing }) => [pairing?.hash],
  'client ids': ({ clients }) => clients,
  certificates: ({ certificates }) => certificates,
  limits: ({ wildcards, share }) => [wildcards, share],
  rules: ({ rules }) => rules.map((rule: AccessRule) => ruleText(rule)),
}

function changedFields(before: User, after: User): string[] {
  return Object.entries(fieldTexts)
    .filter(([, textsOf]) => !isSame(textsOf(before), textsOf(after)))
    .map(([name]) => name)
}

function isSame(one: readonly unknown[], other: readonly unknown[]): boolean {
  return one.length === other.length && one.every((text, i) => text === other[i])
}
