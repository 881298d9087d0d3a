import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { type AccessRule, covers, ruleText } from '../access/rules.js'
import { isLoopback } from '../config/config.js'
import type { Settings } from '../config/settings.js'
import { describe } from '../errors.js'
import { plain } from '../observe/log.js'
import { readUsers, type User } from '../users/users.js'
import { type Check, type Finding, fine, problem, warning } from './finding.js'

const check = 'users'

/** Checks which users can log in, and which have more rights than the operator probably intended. */
export const users: Check = ({ settings, clock }) => {
  const file = settings['auth.file'] && resolve(settings['auth.file'])
  if (!file) return [withoutUsers(settings)]
  if (!existsSync(file)) {
    return [problem(check, `there is no file ${file} (auth.file)`, 'Make it: telehub user add NAME --kind admin.')]
  }
  let read: ReturnType<typeof readUsers>
  try {
    read = readUsers(file)
  } catch (error) {
    const advice =
      'Fix the line; until then a running hub uses the previous version of the file, and a hub does not start.'
    return describe(error)
      .split('\n')
      .map(fault => problem(check, plain(fault), advice))
  }
  const all = [...read.users.values()]
  if (all.length === 0) {
    return [
      problem(
        check,
        `${file} has no users, so nobody can log in`,
        'Make the first: telehub user add NAME --kind admin.',
      ),
    ]
  }
  const found = [
    ...broad(read.everyone).map(rule =>
      warning(check, `every user may ${may(rule)} (everyone: ${ruleText(rule)}, ${rule.place})`, narrowAdvice),
    ),
    ...all.flatMap(user => broadFindings(user)),
    ...lockedOut(all, settings, clock.now()),
  ]
  const admins = all.filter(({ kind }) => kind === 'admin').map(({ name }) => name)
  if (admins.length === 0) {
    found.push(
      warning(
        check,
        'there is no user of kind admin: commands and pairing need the key in data.dir',
        'Make one: telehub user add NAME --kind admin.',
      ),
    )
  }
  return found.length > 0 ? found : [fine(check, `${all.length} in ${file}, of which admin: ${some(admins)}`)]
}

const narrowAdvice =
  'Name the topics instead of #, unless this is meant: telehub user grant and revoke, or edit the file.'

const maxNamed = 5

function some(names: readonly string[]): string {
  const more = names.length - maxNamed
  return names.slice(0, maxNamed).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

function withoutUsers(settings: Settings): Finding {
  if (isLoopback(settings.host))
    return fine(check, `none: everyone on this machine may do everything (host ${settings.host})`)
  return problem(
    check,
    `none: anyone who can reach ${settings.host} may read and publish everything (auth.anonymous)`,
    'Make users, and name their file in auth.file: telehub user add NAME --kind admin.',
  )
}

/** Returns the rules that allow all topics. */
function broad(rules: readonly AccessRule[]): AccessRule[] {
  return rules.filter(({ effect, filter }) => effect === 'allow' && covers(filter, '#'))
}

function may({ verb }: AccessRule): string {
  if (verb === 'all') return 'publish and read everything'
  return `${verb === 'read' ? 'read' : verb === 'publish' ? 'publish' : 'subscribe to'} everything`
}

/** Reports broad rules, except those usual for the kind of user: a dashboard reads, an admin reads and publishes. */
function broadFindings({ name, kind, rules }: User): Finding[] {
  const usual = (rule: AccessRule) =>
    kind === 'admin' || (kind === 'dashboard' && rule.verb !== 'publish' && rule.verb !== 'all')
  return broad(rules)
    .filter(rule => !usual(rule))
    .map(rule => {
      const who = name === 'anonymous' ? 'clients without a user name' : `${name} (${kind})`
      const place = rule.place ? `, ${rule.place}` : ''
      return warning(check, `${who} may ${may(rule)} (${ruleText(rule)}${place})`, narrowAdvice)
    })
}

function lockedOut(all: readonly User[], settings: Settings, now: number): Finding[] {
  const none = all.filter(
    ({ name, password, scram, keys, pairing }) =>
      password === '' &&
      scram === '' &&
      keys.length === 0 &&
      !(pairing && pairing.expires > now) &&
      settings['tls.ca'] === '' &&
      !(name === 'anonymous' && settings['auth.anonymous']),
  )
  if (none.length === 0) return []
  return [
    warning(
      check,
      `there is no way to log in as ${some(none.map(({ name }) => name))}: no password, no API key, no valid pairing code`,
      'telehub user passwd NAME gives a password, telehub device pair NAME a code; or remove the user.',
    ),
  ]
}
