import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  lutimesSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ruleText } from '../../src/access/rules.js'
import { hashSecret, isSecretHash, verifyPassword } from '../../src/passwords/passwords.js'
import { isScram, makeScram } from '../../src/passwords/scram.js'
import { ClientIds } from '../../src/users/client-ids.js'
import { makeKey, makePairing, parseUsers, readKey, readUsers, type Users, usualRules } from '../../src/users/users.js'
import { editUsers, findPairing, type NewUser, type UsersFile } from '../../src/users/users-file.js'
import { tempDir } from '../services/service.js'
import { smallDisk } from '../services/small-disk.js'

const hash = hashSecret('a secret')
const scram = makeScram('a secret')

function users(text: string): Users {
  const read = parseUsers(text, 'users.yaml')
  if ('faults' in read) throw new Error(read.faults.join('\n'))
  return read.users
}

function faults(text: string): string[] {
  const read = parseUsers(text, 'users.yaml')
  return 'faults' in read ? [...read.faults] : []
}

const device = (name: string, more: Partial<NewUser> = {}): NewUser => ({
  name,
  kind: 'device',
  password: hash,
  clients: [],
  certificates: [],
  rules: usualRules.device,
  ...more,
})

const file = async (text?: string) => {
  const path = join(await tempDir(), 'users.yaml')
  if (text !== undefined) writeFileSync(path, text)
  return path
}

const example = `# telehub: who may do what.

everyone:                       # for every user
  - deny publish admin/#

users:
  # in the hall
  thermo:
    kind: device                # it measures
    password: ${hash}
    clients: [thermo-*, '{user}']
    certificates: [CN of thermo]
    wildcards: 10
    share: 20
    rules:
      - allow publish home/{user}/#
      # nobody else's business
      - deny read home/secret/#
    keys:
      - {id: k3x9abcd, label: grafana, hash: ${hash}, created: 2026-11-21T10:00:00Z}
    pairing: {hash: ${hash}, expires: 2026-11-21T10:10:00Z}

  # the last one
  screen: {kind: dashboard, rules: ["allow read #"]}
# the end
`

t.test('the file of docs/users-and-tls.md is read, every rule with its line', async t => {
  const read = users(example)
  const thermo = read.users.get('thermo')
  t.match(thermo, {
    name: 'thermo',
    kind: 'device',
    password: hash,
    clients: ['thermo-*', '{user}'],
    certificates: ['CN of thermo'],
    wildcards: 10,
    share: 20,
    pairing: { hash, expires: Date.UTC(2026, 10, 21, 10, 10) },
  })
  t.same(thermo?.keys, [{ id: 'k3x9abcd', label: 'grafana', hash, created: Date.UTC(2026, 10, 21, 10) }])
  t.same(
    [...(thermo?.rules ?? []), ...read.everyone].map(rule => `${rule.place} ${ruleText(rule)}`),
    [
      'users.yaml:16 allow publish home/{user}/#',
      'users.yaml:18 deny read home/secret/#',
      'users.yaml:4 deny publish admin/#',
    ],
  )
  t.match(read.users.get('screen'), {
    kind: 'dashboard',
    password: '',
    wildcards: undefined,
    share: undefined,
    pairing: undefined,
  })
  for (const text of ['', '# nothing\n', 'users:\n', 'users: {}\n', '{}']) t.equal(users(text).users.size, 0, text)
})

t.test('names that are something else to JavaScript or YAML are names', async t => {
  const names = ['constructor', 'toString', 'true', 'null', '123', '0x10', '1e3', 'a@b.c', 'hasOwnProperty', 'Yes']
  const read = users(`users:\n${names.map(name => `  ${name}: {kind: device}\n`).join('')}`)
  t.same([...read.users.keys()], names)
  t.equal(read.users.get('__proto__'), undefined)
  t.equal(read.users.get('valueOf'), undefined)
  t.match(
    faults('users: {__proto__: {kind: admin}}')[0],
    /users\.yaml:1: users: given "__proto__", allowed is a letter/,
  )
  t.match(faults('__proto__: {users: {}}')[0], /given "__proto__", allowed are everyone, users/)
  t.match(faults('users: {a: {kind: admin, __proto__: {}}}')[0], /a: given "__proto__", allowed are kind, password/)
  const path = await file()
  for (const name of names) await editUsers(path, one => one.addUser(device(name)))
  for (const name of names) await editUsers(path, one => one.addRule(name, 'allow read x'))
  t.same([...readUsers(path).users.keys()], names)
  t.equal(({} as Record<string, unknown>).kind, undefined)
})

t.test('every fault is told with its line, what was given and what is allowed; all at once', async t => {
  const cases: readonly [text: string, ...sentences: RegExp[]][] = [
    [
      'users:\n  a:\n    rules: []\n',
      /^users\.yaml:2: a: no kind is given, allowed are device, dashboard, service, admin$/,
    ],
    ['users:\n  a:\n    kind: robot\n', /^users\.yaml:3: a\.kind: given "robot", allowed are device/],
    ['users:\n  a: {kind: device}\n  a: {kind: admin}\n', /^users\.yaml:3: users: given "a" twice$/],
    ['users: {}\nusers: {}\n', /^users\.yaml:2: the file: given "users" twice$/],
    ['users:\n  a: {kind: device, kind: admin}\n', /:2: a: given "kind" twice/],
    ['users:\n  "a b": {kind: device}\n', /:2: users: given "a b", allowed is a letter or digit/],
    ['users:\n  ../x: {kind: device}\n', /given "\.\.\/x"/],
    [`users:\n  ${'x'.repeat(65)}: {kind: device}\n`, /64 at most/],
    ['users:\n  a: {kind: device, rule: []}\n', /:2: a: given "rule", allowed are kind, password, scram, clients/],
    ['user: {}\n', /:1: the file: given "user", allowed are everyone, users/],
    ['- a\n', /:1: the file: given a list, allowed is key: value/],
    ['users: [a]\n', /users: given a list/],
    ['users:\n  a: device\n', /:2: a: given "device", allowed is key: value/, /no kind/],
    [
      'users:\n  a:\n    kind: device\n    rules: allow read x\n',
      /:4: a\.rules: given "allow read x", allowed is a list/,
    ],
    [
      'users:\n  a:\n    kind: device\n    rules:\n      - allow reed x\n',
      /:5: a\.rules: given "reed", allowed are publish/,
    ],
    ['users:\n  a:\n    kind: device\n    rules:\n      - allow read #\n', /:5: .*put quotes around 'allow read #'$/],
    ['everyone:\n  - allow: read\n', /:2: everyone: given a map, allowed is a rule/],
    [
      `users:\n  a:\n    kind: device\n    scram: ${scram.replace('100000', '4096')}\n`,
      /:4: a\.scram: the value is not a hash, allowed is what telehub user writes/,
    ],
    [`users:\n  a: {kind: device, scram: ${hash}}\n`, /:2: a\.scram: the value is not a hash/],
    [`users:\n  a: {kind: device, scram: ["${scram}"]}\n`, /:2: a\.scram: the value is not a hash/],
    [`users:\n  a: {kind: device, password: ${scram}}\n`, /:2: a\.password: the value is not a hash/],
    ['users:\n  a: {kind: device, wildcards: -1}\n', /wildcards: given "-1", allowed is a whole number/],
    ['users:\n  a: {kind: device, wildcards: many}\n', /wildcards: given "many"/],
    ['users:\n  a: {kind: device, share: 0}\n', /share: given "0", allowed is a whole number from 1 to 100/],
    ['users:\n  a: {kind: device, share: 101}\n', /share: given "101"/],
    ['users:\n  a: {kind: device, clients: ["{client}"]}\n', /clients: given "\{client\}", allowed is a client id/],
    ['users:\n  a: {kind: device, clients: [[b]]}\n', /clients: given a list, allowed is a text/],
    [
      'users:\n  a: {kind: device, certificates: [x]}\n  b: {kind: device, certificates: [x]}\n',
      /:3: b\.certificates: given "x", which is a's already/,
    ],
    [
      'users:\n  a: {kind: device, certificates: [b]}\n  b: {kind: device}\n',
      /a\.certificates: given "b", which is the name of another user/,
    ],
    [
      `users:\n  a: {kind: device, keys: [{id: K, hash: ${hash}}]}\n`,
      /keys\.id: given "K", allowed are 8/,
      /needs id and hash/,
    ],
    [
      `users:\n  a: {kind: device, keys: [{id: aaaaaaaa, hash: ${hash}}]}\n  b: {kind: device, keys: [{id: aaaaaaaa, hash: ${hash}}]}\n`,
      /:3: b\.keys\.id: given "aaaaaaaa", which another key has already/,
    ],
    [`users:\n  a: {kind: device, pairing: {hash: ${hash}}}\n`, /pairing needs hash and expires/],
    [
      `users:\n  a: {kind: device, pairing: {hash: ${hash}, expires: soon}}\n`,
      /given "soon", allowed is a time/,
      /needs hash/,
    ],
    ['users:\n  a: &x {kind: device}\n  b: *x\n', /:\d: b: given an alias, allowed is key: value/, /no kind/],
    ['users:\n\t- x\n', /^users\.yaml:2: /],
    ['a: [\n', /^users\.yaml:\d: /],
    ['users: {}\n---\nusers: {}\n', /^users\.yaml:\d: /],
    ['users:\n  "a\x1b[2J": {kind: device}\n', /^users\.yaml:\d: /],
    ['users:\n  "\\e[2J\\u202e": {kind: device}\n', /given "\\u001b\[2J\\u202e"/],
  ]
  for (const [text, ...sentences] of cases) {
    const given = faults(text)
    for (const sentence of sentences)
      t.ok(
        given.some(one => sentence.test(one)),
        `${JSON.stringify(text)} · ${given}`,
      )
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come through
    t.notMatch(given.join(''), /[\u0000-\u001f\u007f-\u009f\u202e]/)
  }
  t.equal(faults('users:\n  a: {kind: x, wildcards: y}\n  b: {kind: z}\n').length, 3)
  const many = faults(`users:\n${Array.from({ length: 500 }, (_, i) => `  u${i}: {kind: x}\n`).join('')}`)
  t.equal(many.length, 51)
  t.equal(many.at(-1), 'users.yaml: and 450 more')
})

t.test('a password that was written as it is does not come back in the sentence', async t => {
  const given = faults('users:\n  a: {kind: device, password: opensesame}\n')
  t.match(given, [/^users\.yaml:2: a\.password: the value is not a hash/])
  t.notMatch(given.join(), /opensesame/)
  t.notMatch(faults('users:\n  a: {kind: device, scram: opensesame}\n').join(), /opensesame/)
})

t.test('what is too large or too deep is refused, and stops nothing', async t => {
  t.match(faults('['.repeat(100_000))[0], /^users\.yaml:1: /)
  t.match(faults(`users: ${'{a: '.repeat(50_000)}`)[0], /^users\.yaml:1: /)
  t.match(faults(`# ${'x'.repeat(50e6)}`)[0], /more than 50000000 bytes/)
  const bomb = `users:\n  a: &a {kind: device}\n  b: {kind: device, rules: [${'*a,'.repeat(20)}]}\n`
  t.match(faults(bomb)[0], /b\.rules: given an alias/)
  const path = await file('x'.repeat(50e6 + 1))
  t.throws(() => readUsers(path), { code: 'bad_settings', message: /given 50000001 bytes, allowed are 50000000/ })
})

t.test('which client ids a user may use', async t => {
  const may = (clientId: string, ...clients: string[]) => {
    const list = clients.length > 0 ? `\n    clients: ${JSON.stringify(clients)}` : ''
    return (
      new ClientIds(users(`users:\n  u.1:\n    kind: device\n    password: ${hash}${list}\n`)).fault(
        'u.1',
        clientId,
      ) === undefined
    )
  }
  t.ok(may('anything'))
  t.ok(may('u.1', '{user}'))
  t.notOk(may('uX1', '{user}'), 'a name is no expression')
  for (const [pattern, id, expected] of [
    ['a*', 'a', true],
    ['a*', 'ba', false],
    ['*a', 'ba', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['a*b*c', 'axxbyyc', true],
    ['a*b*c', 'axxc', false],
    ['a*b*b', 'ab', false],
    ['*', '', true],
    ['{user}-*', 'u.1-x', true],
    ['{user}-*', 'u.1', false],
    ['a', 'A', false],
    ['(a+)+$', '(a+)+$', true],
  ] as const) {
    t.equal(may(id, pattern), expected, `${pattern} · ${id}`)
  }
  t.notOk(may(`${'a'.repeat(60_000)}c`, `${'*a'.repeat(400)}*b`), 'and answers at once')
})

t.test('an edit keeps comments, order and style, and makes a file of mode 0600', async t => {
  const path = await file(example)
  chmodSync(path, 0o644)
  await editUsers(path, one => {
    one.setPassword('thermo', hashSecret('another'))
    one.addRule('thermo', 'allow read #')
    t.notOk(one.addRule('thermo', 'deny read home/secret/#'), 'it is there')
    t.ok(one.removeRule('thermo', 'allow publish home/{user}/#'))
    t.notOk(one.removeRule('thermo', 'allow publish nowhere'))
    one.addKey('screen', makeKey('a: "label" # {}', 0).key)
    one.addUser(device('lamp', { clients: ['*', '{user}'], certificates: ['*.example.org'], rules: ['allow all #'] }))
  })
  const text = readFileSync(path, 'utf8')
  for (const comment of [
    '# telehub: who may do what.',
    '# for every user',
    '# in the hall',
    '# it measures',
    '# the end',
  ]) {
    t.match(text, comment)
  }
  t.match(text, "clients: [thermo-*, '{user}']")
  t.match(text, '      # nobody else')
  t.equal(statSync(path).mode & 0o777, 0o600)
  const read = readUsers(path)
  t.same([...read.users.keys()], ['thermo', 'screen', 'lamp'])
  t.same(read.users.get('thermo')?.rules.map(ruleText), ['deny read home/secret/#', 'allow read #'])
  t.ok(verifyPassword(read.users.get('thermo')?.password ?? '', 'another'))
  t.equal(read.users.get('screen')?.keys[0]?.label, 'a: "label" # {}')
  t.match(read.users.get('lamp'), { clients: ['*', '{user}'], certificates: ['*.example.org'] })
  t.same(readdirSync(join(path, '..')), ['users.yaml'], 'and nothing else is left')
})

t.test('a file laid out in another way stays so', async t => {
  const flush = `users:
  # as some like it
  a:
    kind: device
    rules:
    - allow read x
`
  const deep = `users:
    # deep
    a:
        kind: device
        rules:
            - allow read x
`
  for (const [text, indent] of [
    [flush, 4],
    [deep, 12],
  ] as const) {
    const path = await file(text)
    await editUsers(path, one => one.addRule('a', 'allow read y'))
    t.equal(readFileSync(path, 'utf8'), `${text}${' '.repeat(indent)}- allow read y\n`)
  }
})

t.test('the first user makes the file; the last one may go; what changes nothing writes nothing', async t => {
  const path = await file()
  await editUsers(path, () => {})
  t.notOk(existsSync(path))
  await editUsers(path, one => one.addUser(device('a')))
  t.match(readFileSync(path, 'utf8'), /^# telehub: users and their rules/)
  t.equal(statSync(path).mode & 0o777, 0o600)
  await editUsers(path, one => one.removeUser('a'))
  t.equal(readUsers(path).users.size, 0)
  await editUsers(path, one => one.addUser(device('b')))
  t.match(readFileSync(path, 'utf8'), /\nusers:\n {2}b:\n {4}kind: device\n/)
  for (const empty of ['# mine\n', '# mine\n\nusers:\n', '# mine\nusers: {}\n', '# mine\neveryone: [deny read x]\n']) {
    const other = await file(empty)
    await editUsers(other, one => one.addUser(device('c')))
    t.match(readFileSync(other, 'utf8'), /^# mine\n[\s\S]*users:\n {2}c:\n/, empty)
  }
  const before = statSync(path).mtimeMs
  await editUsers(path, one => one.addRule('b', 'allow all devices/{user}/#'))
  t.equal(statSync(path).mtimeMs, before)
})

t.test('what cannot be done is a sentence, and changes nothing', async t => {
  const path = await file(example)
  const refused = async (
    edit: (one: UsersFile) => unknown,
    wanted: { readonly code: string } | { readonly message: string | RegExp },
  ) => {
    await t.rejects(editUsers(path, edit), wanted)
    t.equal(readFileSync(path, 'utf8'), example)
  }
  const unknown = {
    code: 'not_found',
    message: 'there is no user nobody in users.yaml; telehub user list shows all',
  }
  await refused(one => one.removeUser('nobody'), unknown)
  await refused(one => one.setPassword('nobody', hash), unknown)
  await refused(one => one.addRule('nobody', 'allow read x'), unknown)
  await refused(one => one.removeKey('thermo', 'zzzzzzzz'), { code: 'not_found', message: /has no key zzzzzzzz/ })
  await refused(one => one.addUser(device('thermo')), { message: /user thermo already exists/ })
  await refused(one => one.addUser(device('x', { certificates: ['CN of thermo'] })), {
    message: /was not changed: users\.yaml:\d+: x\.certificates: given "CN of thermo", which is thermo's already/,
  })
  await refused(one => one.setPassword('thermo', 'no hash'), { message: /was not changed/ })
  await refused(
    one => {
      one.removeUser('thermo')
      throw new Error('thought better of it')
    },
    { message: 'thought better of it' },
  )
  const broken = await file('users: [')
  await t.rejects(
    editUsers(broken, one => one.addUser(device('a'))),
    { code: 'bad_settings', message: /^users\.yaml:1: / },
  )
  t.equal(readFileSync(broken, 'utf8'), 'users: [')
  await t.rejects(
    editUsers(join(path, 'x', 'users.yaml'), () => {}),
    { code: 'data_dir_unusable' },
  )
})

t.test('pairing: once, in time, in any case; the code becomes a password', async t => {
  const path = await file(example)
  const { code, pairing } = makePairing(1_000)
  t.match(code, /^[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}$/)
  t.equal(pairing.expires, 601_000)
  t.equal(pairing.hash, hashSecret(code.replaceAll('-', '')))
  await editUsers(path, one => one.setPairing('thermo', pairing))
  t.notMatch(readFileSync(path, 'utf8'), code)
  const refused = (given: string, now = 1_000) =>
    t.rejects(
      editUsers(path, one => one.redeemPairing(given, now)),
      { code: 'forbidden' },
    )
  for (const wrong of ['', code.slice(0, -1), `${code}0`, pairing.hash, 'AAAA-AAAA-AAAA']) await refused(wrong)
  await refused(code, 601_000)
  t.equal(findPairing(readUsers(path), code, 600_999)?.name, 'thermo')
  const sloppy = code.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l')
  const { user, password } = await editUsers(path, one => one.redeemPairing(sloppy, 600_000))
  t.equal(user.name, 'thermo')
  const thermo = readUsers(path).users.get('thermo')
  t.ok(isSecretHash(thermo?.password ?? ''))
  t.ok(verifyPassword(thermo?.password ?? '', password))
  t.equal(thermo?.pairing, undefined)
  await refused(code)
  const both = await file(example)
  await editUsers(both, one => one.setPairing('thermo', pairing))
  const tries = await Promise.allSettled([1, 2, 3].map(() => editUsers(both, one => one.redeemPairing(code, 1_000))))
  t.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1, 'whoever comes first')
})

t.test('scram: written beside the password, and never left behind by another one', async t => {
  const path = await file(example)
  const user = (name: string) => readUsers(path).users.get(name)
  await editUsers(path, one => one.addUser(device('lamp', { scram })))
  t.match(user('lamp'), { password: hash, scram })
  t.equal(user('thermo')?.scram, '')
  const another = makeScram('another')
  await editUsers(path, one => one.setPassword('lamp', hashSecret('another'), another))
  t.equal(user('lamp')?.scram, another)
  await editUsers(path, one => one.setPassword('lamp', hash))
  t.equal(user('lamp')?.scram, '')
  t.notMatch(readFileSync(path, 'utf8'), 'scram')
  await editUsers(path, one => one.setPassword('lamp', hash, scram))
  const codes = ['lamp', 'thermo'].map(name => ({ name, ...makePairing(1_000) }))
  for (const { name, pairing } of codes) await editUsers(path, one => one.setPairing(name, pairing))
  for (const { code } of codes) await editUsers(path, one => one.redeemPairing(code, 1_000))
  t.ok(isScram(user('lamp')?.scram ?? ''))
  t.not(user('lamp')?.scram, scram, 'of the new password')
  t.equal(user('thermo')?.scram, '', 'who had none gets none')
})

t.test('keys say which they are; nothing else is one', async t => {
  const { text, key } = makeKey('l', 5)
  t.match(text, /^thk_[a-z2-7]{8}_[\w-]{27}$/)
  const read = readKey(text)
  t.equal(read?.id, key.id)
  t.equal(hashSecret(read?.secret ?? ''), key.hash)
  for (const bad of ['', 'thk_', text.slice(1), `${text}x`, `${text}\n`, text.toUpperCase()])
    t.equal(readKey(bad), undefined)
})

t.test('a lock of a process that is gone is broken; one of another machine when it is old', async t => {
  const path = await file(example)
  const lock = `${path}.lock`
  const child = spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' })
  await new Promise(resolve => child.once('close', resolve))
  const held = (...holder: unknown[]) => symlinkSync(JSON.stringify(holder), lock)
  held(child.pid, hostname(), 'x')
  await editUsers(path, one => one.addRule('thermo', 'allow read one'))
  t.equal(lstatSync(lock, { throwIfNoEntry: false }), undefined)
  // An editor waits while process 1, which never goes, has it.
  held(1, 'elsewhere', 'x')
  let isDone = false
  const waiting = editUsers(path, one => one.addRule('thermo', 'allow read two')).then(() => {
    isDone = true
  })
  await sleep(200)
  t.notOk(isDone)
  lutimesSync(lock, 0, 0)
  await waiting
  // A breaker was killed, too.
  held(child.pid, hostname(), 'y')
  symlinkSync('0', `${lock}.breaker`)
  lutimesSync(`${lock}.breaker`, 0, 0)
  await editUsers(path, one => one.addRule('thermo', 'allow read three'))
  t.equal(readUsers(path).users.get('thermo')?.rules.length, 5)
  t.same(readdirSync(join(path, '..')), ['users.yaml'])
})

t.test('who lost its lock writes nothing', async t => {
  const path = await file(example)
  await t.rejects(
    editUsers(path, one => {
      unlinkSync(`${path}.lock`)
      one.removeUser('thermo')
    }),
    { code: 'busy' },
  )
  t.equal(readFileSync(path, 'utf8'), example)
})

t.test('a full disk: the old file stays, and nothing else', async t => {
  const disk = await smallDisk(t, 1e6)
  if (!disk) return void t.pass('cannot mount here')
  const path = join(disk.dir, 'users.yaml')
  await editUsers(path, one => one.addUser(device('a')))
  const before = readFileSync(path, 'utf8')
  disk.fill(4_096)
  await t.rejects(
    editUsers(path, one => {
      for (let i = 0; i < 500; i++) one.addUser(device(`u${i}`))
    }),
    { code: 'data_dir_unusable', message: /users\.yaml was not changed, as it cannot be written: ENOSPC/ },
  )
  t.equal(readFileSync(path, 'utf8'), before)
  t.same(readdirSync(disk.dir).sort(), ['ballast', 'users.yaml'])
  disk.free()
  await editUsers(path, one => one.addUser(device('b')))
  t.equal(readUsers(path).users.size, 2)
})

t.test('a link to the file stays one, and what a kill left behind is taken over', async t => {
  const path = await file(example)
  const link = join(await tempDir(), 'link.yaml')
  symlinkSync(path, link)
  writeFileSync(`${path}.new`, 'half', { mode: 0o666 })
  utimesSync(path, 0, 0)
  await editUsers(link, one => one.addUser(device('new')))
  t.ok(lstatSync(link).isSymbolicLink())
  t.ok(readUsers(path).users.has('new'))
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.same(readdirSync(join(path, '..')), ['users.yaml'])
})
