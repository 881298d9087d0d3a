import {
  array,
  boolean,
  closed,
  constant,
  integer,
  number,
  object,
  optional,
  string,
  withDefault,
  words,
} from './schema.js'

/* The users file, as `telehub user` reads and changes it; passwords and keys are in no answer but the one that makes them. */

export const userKinds = ['device', 'dashboard', 'service', 'admin'] as const

const rule = object({
  rule: string('Such as `allow publish home/#`'),
  place: string('File and line'),
})

const user = object({
  name: string(),
  kind: words(userKinds),
  password: words(['none', 'set', 'generated'], '`set`: chosen by a person'),
  scram: boolean(),
  clients: array(string(), 'Client ids that the user may use; empty: any'),
  certificates: array(string(), 'Names in certificates that are this user, beside the name itself'),
  wildcards: optional(integer()),
  share: optional(number('Percent')),
  rules: array(rule),
  keys: array(object({ id: string(), label: string(), created: number('0: not known') })),
  pairing: optional(object({ expires: number() }, 'A code that is not used yet, also when it has expired')),
  paired: optional(
    object({ at: number(), address: string() }, 'When the device has paired, since the start of the hub'),
  ),
  online: integer('Clients of the user that are connected'),
  lastSeen: number('When a client of the user has published last, or a browser was used; 0: never'),
  ban: optional(object({ until: number(), by: string() }, 'An administrator has locked the user until then')),
})

const name = string('User name', { maxLength: 64 })
const rules = (description: string) => array(string(undefined, { maxLength: 70_000 }), description, { maxItems: 1_000 })
const clients = array(string(undefined, { maxLength: 1_000 }), 'Client ids, with * and {user}', { maxItems: 1_000 })
const changedFile =
  '`If-Match` has the `version` of an answer: the change is refused when the file is another one by now.'
const problems = {
  404: 'There is no such user',
  409: 'Another process edits the file',
  412: 'The users file has been changed since the version of If-Match',
}
const version = string('Of the users file; for If-Match')
const secret = string('Shown only in this answer: the file has a hash')

/** The declarations of the routes of users. */
export const users = {
  'GET /api/users': {
    summary: 'The users of the users file (auth.file), with their rules and keys, without any secret',
    allow: 'change',
    query: closed({
      search: optional(string('Part of a name', { maxLength: 64 })),
      name: optional(string('One user', { maxLength: 64 })),
      after: optional(string('The `next` of the page before', { maxLength: 64 })),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 1_000 }), 100),
    }),
    answer: object({
      file: string('Empty: the hub has no login'),
      version,
      trouble: optional(string('Why the file as it is now is not in effect; the version before is')),
      count: integer('Users that fit'),
      users: array(user, 'By name'),
      next: optional(string()),
      everyone: array(rule, 'Rules for all users'),
    }),
  },
  'POST /api/users': {
    summary: 'Adds a user, with a password that the hub makes, or without one',
    description: changedFile,
    allow: 'change',
    body: closed({
      name,
      kind: words(userKinds),
      rules: optional(rules('Default: the usual rules of the kind; a service has none')),
      clients: optional(clients),
      certificates: optional(array(string(undefined, { maxLength: 1_000 }), undefined, { maxItems: 100 })),
      password: withDefault(
        words(['none', 'password', 'scram'], '`scram`: also for SCRAM-SHA-256 of MQTT 5'),
        'password',
      ),
    }),
    problems: { 409: problems[409], 412: problems[412] },
    answer: object({ password: optional(secret), version }),
  },
  'POST /api/users/password': {
    summary: 'Gives a user a new password, which the hub makes; connections with the old one are closed',
    description: changedFile,
    allow: 'change',
    body: closed({ name, scram: withDefault(boolean('Also for SCRAM-SHA-256 of MQTT 5'), false) }),
    problems,
    answer: object({ password: secret, version }),
  },
  'POST /api/users/rules': {
    summary: 'Adds rules to a user, and removes others; connections get the new rights at once',
    description: changedFile,
    allow: 'change',
    body: closed({
      name,
      add: optional(rules('Such as `deny read home/secret`')),
      remove: optional(rules('As listed')),
    }),
    problems: { ...problems, 404: 'There is no such user, or it has no such rule' },
    answer: object({ version }),
  },
  'DELETE /api/users': {
    summary: 'Removes a user with its keys; its connections are closed',
    description: `${changedFile} Callers cannot remove themselves.`,
    allow: 'change',
    query: closed({ name }),
    problems,
    answer: object({ version }),
  },
  'POST /api/users/keys': {
    summary: 'Makes an API key for a user',
    description: changedFile,
    allow: 'change',
    body: closed({ name, label: withDefault(string('A note', { maxLength: 200 }), '') }),
    problems,
    answer: object({ id: string(), key: secret, version }),
  },
  'DELETE /api/users/keys': {
    summary: 'Ends an API key, which is refused from then on',
    description: changedFile,
    allow: 'change',
    query: closed({ name, id: string(undefined, { maxLength: 8 }) }),
    problems: { ...problems, 404: 'There is no such user, or it has no such key' },
    answer: object({ version }),
  },
  'POST /api/users/pairing': {
    summary: 'Makes a code by which a device gets its credentials, once, within ten minutes (POST /api/pair)',
    description: `A device that does not exist is added. ${changedFile}`,
    allow: 'change',
    body: closed({
      name,
      rules: optional(rules('Of a new device; default: the usual rules of devices')),
      clients: optional(clients),
    }),
    problems: { 409: problems[409], 412: problems[412] },
    answer: object({
      code: string('Shown only in this answer'),
      expires: number(),
      isNew: boolean('Whether the device was added'),
      addresses: array(
        string(),
        'URLs of this hub on the networks of its machine; empty: only this machine reaches it',
      ),
      version,
    }),
  },
  'GET /api/explain': {
    summary: 'Whether a user may do something, and which rule decides, as telehub explain says',
    allow: 'change',
    query: closed({
      user: name,
      action: words(['publish', 'subscribe', 'read'], '`read`: receive messages of a topic'),
      topic: string('A filter when the action is subscribe', { maxLength: 65_535 }),
      client: optional(string('Client id; default: the name of the user', { maxLength: 65_535 })),
    }),
    answer: object({
      allowed: boolean(),
      lines: array(string(), 'Sentences: the line that decides, or why none does'),
      rule: optional(
        object({ ...{ rule: string(), place: string() }, everyone: optional(constant(true, 'A rule for all users')) }),
      ),
    }),
  },
} as const
