import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { hashSecret, verifyPassword } from '../../src/passwords/passwords.js'
import { Challenge, parseScram, readClientFirst } from '../../src/passwords/scram.js'
import { readKey, readUsers } from '../../src/users/users.js'
import { editUsers } from '../../src/users/users-file.js'
import { ScramClient } from '../fixtures/scram.js'
import { tempDir } from '../services/service.js'

const cli = fileURLToPath(new URL('../../bundle/cli.js', import.meta.url))

interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs the command in a folder, with this in its stdin. */
function run(cwd: string, args: readonly string[], input = ''): Promise<Ran> {
  const child = spawn(process.execPath, [cli, ...args], { cwd, stdio: 'pipe' })
  let out = ''
  let err = ''
  child.stdout.on('data', chunk => {
    out += chunk
  })
  child.stderr.on('data', chunk => {
    err += chunk
  })
  // It may have ended without reading.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise(resolve => child.once('close', code => resolve({ code, out, err })))
}

/** A folder whose settings name a users file, and how to run telehub there. */
async function place() {
  const dir = await tempDir()
  writeFileSync(join(dir, 'telehub.yaml'), 'auth.file: users.yaml\n')
  const path = join(dir, 'users.yaml')
  return {
    dir,
    path,
    users: () => readUsers(path).users,
    text: () => readFileSync(path, 'utf8'),
    telehub: (line: readonly string[], input?: string) => run(dir, line, input),
  }
}

const use = (name: string) => `; telehub ${name} --help shows its use`

t.test('user add: kinds and their usual rules, passwords from a pipe, a file, or made', async t => {
  const { dir, path, users, text, telehub } = await place()
  const added = await telehub(['user', 'add', 'thermo', '--client', 'thermo-*'], 'correct horse\nsecond line\n')
  t.same(added, {
    code: 0,
    out: 'Added thermo (device) to users.yaml. Rules:\n  allow all devices/{user}/#\nClient ids: thermo-*\n',
    err: '',
  })
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.notMatch(text(), /correct horse/)
  t.ok(verifyPassword(users().get('thermo')?.password ?? '', 'correct horse'))

  writeFileSync(join(dir, 'secret'), 'battery staple\r\n')
  const rules = ['--allow', 'publish a/#', '--allow', 'read #', '--deny', 'read b/#']
  const service = ['user', 'add', 'api', '--kind', 'service', '--password-file', 'secret', ...rules]
  t.equal((await telehub(service)).code, 0)
  t.ok(verifyPassword(users().get('api')?.password ?? '', 'battery staple'))
  t.same(
    users()
      .get('api')
      ?.rules.map(({ effect, verb, filter }) => `${effect} ${verb} ${filter}`),
    ['allow publish a/#', 'allow read #', 'deny read b/#'],
  )

  const made = await telehub(['user', 'add', 'boss', '--kind', 'admin', '--generate'])
  t.match(made.out, /^Added boss \(admin\) to users\.yaml/)
  const password = /shown only now: (\S+)/.exec(made.out)?.[1] ?? ''
  t.equal(users().get('boss')?.password, hashSecret(password))

  const lamp = await telehub(['user', 'add', 'lamp', '--certificate', 'lamp.example.org'])
  t.match(lamp.out, /certificate with the name lamp or lamp\.example\.org authenticates it\n$/)
  t.match(users().get('lamp'), { password: '', certificates: ['lamp.example.org'] })
  t.equal((await telehub(['user', 'add', 'anonymous'])).code, 0)
  t.equal(users().get('anonymous')?.password, '')
  t.equal((await telehub(['user', 'add', 'screen', '--kind', 'dashboard', '--generate'])).code, 0)
  t.equal(users().get('screen')?.rules.length, 3)
})

t.test('mistakes: each is a sentence, and nothing is written', async t => {
  const { dir, path, telehub } = await place()
  writeFileSync(join(dir, 'empty'), '')
  const cases: readonly [args: readonly string[], sentence: string | RegExp, input?: string][] = [
    [['user'], /^unknown command "user"; .*allowed are user add, user passwd, .*user key list;/],
    [['user', 'ad', 'x'], /^unknown command "user ad x"; did you mean "user add"\?; allowed are user add/],
    [['user', 'key'], /^unknown command "user key"; .*allowed are/],
    [['device'], /^unknown command "device"; .*allowed are device list, device remove, device pair;/],
    [
      ['device', 'repair', 'x'],
      /^unknown command "device repair x"; .*allowed are device list, device remove, device pair;/,
    ],
    [['user', 'add'], `telehub user add needs NAME${use('user add')}`],
    [['user', 'grant', 'a'], `telehub user grant needs VERB FILTER${use('user grant')}`],
    [['user', 'add', 'a', 'a-password'], `telehub user add takes no "a-password"${use('user add')}`],
    [['user', 'add', 'a b'], /^NAME: given "a b", allowed is a letter or digit/],
    [['user', 'add', '__proto__'], /^NAME: given "__proto__"/],
    [['user', 'add', '\x1b[2J'], /^NAME: given "\\u001b\[2J", allowed/],
    [['user', 'add', 'a', '--kind', 'robot'], `--kind: given "robot", allowed are device, dashboard, service, admin`],
    [['user', 'add', 'a', '--kind'], `--kind: given nothing, it needs a value`],
    [['user', 'add', 'a', '--allow', '--generate'], `--allow: given "--generate", it needs a value`],
    [['user', 'add', 'a', '--allow', ''], `--allow: given "", it needs a value`],
    [['user', 'add', 'a', '--allow', 'write x'], /^--allow: given "write", allowed are publish, subscribe, read, all$/],
    [['user', 'add', 'a', '--deny', 'read a#'], /^--deny: given "a#", allowed is a topic filter/],
    [['user', 'add', 'a', '--client', '{client}'], /^--client: given "\{client\}", allowed is a client id/],
    [['user', 'add', 'a', '--json'], /^--json: telehub user add has no such flag; allowed are --kind, /],
    [['user', 'add', 'a', '--label', 'x'], /^--label: telehub user add has no such flag; allowed are/],
    [
      ['user', 'add', 'a', '--password', 'opensesame'],
      /^--password: telehub user add has no such flag; did you mean --password-file\?/,
    ],
    [['user', 'add', 'a', '--mqtt.port', 'x'], /^mqtt\.port: given "x"/],
    [['user', 'add', 'a', '--kind', 'service', '--generate'], /^a service needs at least one --allow/],
    [['user', 'add', 'a'], /^no password given for a: type it, pipe it in, or use --password-file or --generate/],
    [['user', 'add', 'a'], 'the password: given 7 characters, allowed are 8 to 1,000', '1234567\n'],
    [['user', 'add', 'a'], 'the password: given 1,001 characters, allowed are 8 to 1,000', 'x'.repeat(1_001)],
    [['user', 'add', 'a', '--password-file', 'none'], /^--password-file: cannot read "none": ENOENT/],
    [['user', 'add', 'a', '--password-file', 'empty'], /^no password given for a/],
    [['user', 'add', 'a', '--password-file', 'empty', '--generate'], /^--generate and --password-file: given both/],
    [['user', 'list', '--kind', 'device'], /^--kind: telehub user list has no such flag; allowed are --json/],
    [['explain'], `telehub explain needs --user, and one of --publish, --subscribe, --read${use('explain')}`],
    [['explain', '--user', 'a', '--publish', 'x', '--read', 'x'], /^telehub explain needs --user, and one of/],
    [
      ['explain', '--user', 'a', '--client', 'x', '--client', 'y', '--read', 'x'],
      /^--client: given twice, allowed is once/,
    ],
  ]
  await Promise.all(
    [0, 1].map(async half => {
      for (const [args, sentence, input] of cases.filter((_, i) => i % 2 === half)) {
        const { code, out, err } = await telehub(args, input)
        t.equal(code, 2, args.join(' '))
        t.equal(out, '')
        t.match(err.replace(/^telehub: /, '').trimEnd(), sentence)
        t.equal(err.trimEnd().split('\n').length, 1, err)
        t.notMatch(err, 'opensesame')
      }
    }),
  )
  t.notOk(existsSync(path))
})

t.test('passwd, grant, revoke, keys, list, show, remove', async t => {
  const { users, text, telehub, path } = await place()
  await telehub(['user', 'add', 'a'], 'first password')
  t.match(await telehub(['user', 'add', 'a'], 'first password'), {
    code: 1,
    err: 'telehub: user a already exists in users.yaml; telehub user show a shows it\n',
  })
  t.match((await telehub(['user', 'passwd', 'a'], 'second password\n')).out, /^Changed the password of a/)
  t.ok(verifyPassword(users().get('a')?.password ?? '', 'second password'))
  t.match((await telehub(['user', 'passwd', 'a', '--generate'])).out, /shown only now: \S{27}\n$/)

  writeFileSync(path, text().replace('users:', 'everyone:\n  - deny publish admin/# # the hub only\n\nusers:'))
  t.match(
    (await telehub(['user', 'grant', 'a', 'read', 'home/{user}/+'])).out,
    /^users\.yaml:\d+: allow read home.* · added$/m,
  )
  t.match((await telehub(['user', 'grant', 'a', 'read', 'home/{user}/+'])).out, /it was already there/)
  t.match(
    (await telehub(['user', 'grant', 'a', 'publish', '#'])).out,
    /users\.yaml:4: deny publish admin\/# · still denies/,
  )
  t.match(
    (await telehub(['user', 'grant', '--deny', 'a', 'read', 'home/secret'])).out,
    /deny read home\/secret · added/,
  )
  t.match(text(), '# the hub only')
  t.equal(users().get('a')?.rules.length, 4)
  t.match(await telehub(['user', 'revoke', 'a', 'read', 'home/secret']), {
    code: 1,
    err: /^telehub: a has no rule "allow read home\/secret"; it has allow all devices/,
  })
  t.match(await telehub(['user', 'revoke', 'a', 'read', 'home/secret', '--deny']), { code: 0 })
  t.match(await telehub(['user', 'grant', 'a', 'fly', 'x']), { code: 2, err: /given "fly", allowed are publish/ })

  const made = await telehub(['user', 'key', 'add', 'a', '--label', 'graf\x1b[31mana'])
  const key = readKey(/thk_\S{8}_\S{27}/.exec(made.out)?.[0] ?? '')
  t.match(users().get('a')?.keys, [{ id: key?.id, hash: hashSecret(key?.secret ?? '') }])
  const keys = await telehub(['user', 'key', 'list', 'a'])
  t.match(keys.out, `${key?.id}  graf\uFFFD[31mana`)
  t.notMatch(keys.out, '\x1b')
  const json = JSON.parse((await telehub(['user', 'key', 'list', 'a', '--json'])).out)
  t.equal(json[0].id, key?.id)
  t.notOk(JSON.stringify(json).includes('sha256'))

  t.match((await telehub(['user', 'list'])).out, /^user {2}kind .*\na {5}device {2}generated {2}1 .*3\n$/s)
  const shown = await telehub(['user', 'show', 'a'])
  t.match(shown.out, /rules for everyone\n {2}users\.yaml:4: deny publish admin\/#/)
  const listed = JSON.parse((await telehub(['user', 'list', '--json'])).out)
  t.match(listed, [{ name: 'a', kind: 'device', hasPassword: true, keys: [{ id: key?.id }] }])
  t.notMatch(JSON.stringify(listed), /sha256|scrypt/)
  t.match(JSON.parse((await telehub(['user', 'show', 'a', '--json'])).out), { name: 'a' })

  t.match(await telehub(['user', 'key', 'remove', 'a', 'zzzzzzzz']), { code: 1, err: /a has no key zzzzzzzz/ })
  t.match(await telehub(['user', 'key', 'remove', 'a', key?.id ?? '']), { code: 0, err: '' })
  t.match((await telehub(['user', 'key', 'list', 'a'])).out, /^a has no keys/)
  t.match(await telehub(['user', 'remove', 'a']), { code: 2, err: /confirm with --yes/ })
  t.match((await telehub(['user', 'remove', 'a', '--yes'])).out, /^Removed a from users\.yaml/)
  t.match((await telehub(['user', 'list'])).out, /^no users in users\.yaml; telehub user add NAME makes one\n$/)
  for (const args of [
    ['remove', 'a', '--yes'],
    ['passwd', 'a'],
    ['show', 'a'],
    ['grant', 'a', 'read', 'x'],
    ['key', 'add', 'a'],
  ]) {
    t.match(await telehub(['user', ...args]), {
      code: 1,
      err: /^telehub: there is no user a in users\.yaml; telehub user list/,
    })
  }
})

/** Does this password let in by what the file has for SCRAM? */
function scramAccepts(scram: string | undefined, password: string): boolean {
  const client = new ScramClient('a', password)
  const first = readClientFirst(client.first)
  const secret = parseScram(scram ?? '')
  if (!secret || typeof first === 'string') return false
  const hub = new Challenge(first, secret)
  return typeof hub.answer(client.final(Buffer.from(hub.text))) !== 'string'
}

t.test('--scram: the same password for SCRAM, until another one is set', async t => {
  const { path, users, text, telehub } = await place()
  const scramOf = (name: string) => users().get(name)?.scram
  const added = await telehub(['user', 'add', 'a', '--scram'], 'Zu\u0308rich horse\n')
  t.match(added, {
    code: 0,
    out: /^Added a \(device\) to users\.yaml\.[\s\S]*also works for SCRAM-SHA-256\n$/,
    err: '',
  })
  t.ok(verifyPassword(users().get('a')?.password ?? '', 'Z\u00fcrich horse'))
  t.ok(scramAccepts(scramOf('a'), 'Z\u00fcrich horse'))
  t.match((await telehub(['user', 'show', 'a'])).out, /^scram {8}SCRAM-SHA-256$/m)
  const json = await telehub(['user', 'show', 'a', '--json'])
  t.match(JSON.parse(json.out), { hasPassword: true, hasScram: true })
  t.notMatch(json.out, /SHA-256|scrypt/)

  const made = await telehub(['user', 'passwd', 'a', '--generate', '--scram'])
  const password = /shown only now: (\S+)/.exec(made.out)?.[1] ?? ''
  t.match(made.out, /also works for SCRAM-SHA-256\n$/)
  t.equal(users().get('a')?.password, hashSecret(password))
  t.ok(scramAccepts(scramOf('a'), password))
  t.notOk(scramAccepts(scramOf('a'), 'Z\u00fcrich horse'))

  const { out } = await telehub(['device', 'pair', 'a'])
  const code = /^ {2}([\w-]{14})$/m.exec(out)?.[1] ?? ''
  const paired = await editUsers(path, file => file.redeemPairing(code, Date.now()))
  t.ok(scramAccepts(scramOf('a'), paired.password), 'a device that is paired keeps it')

  t.match((await telehub(['user', 'passwd', 'a'], 'third password\n')).out, /SCRAM-SHA-256 no longer works for it/)
  t.equal(scramOf('a'), '')
  t.notMatch(text(), /scram/)
  t.match((await telehub(['user', 'show', 'a'])).out, /^scram {8}none$/m)
  t.notMatch((await telehub(['user', 'passwd', 'a'], 'fourth password\n')).out, /SCRAM/)

  const before = text()
  t.match(await telehub(['user', 'passwd', 'a', '--scram'], `${'\u{1f600}'.repeat(8)}\n`), {
    code: 2,
    err: /^telehub: the password: has a character that SCRAM-SHA-256 cannot use \(RFC 4013\)/,
  })
  t.equal(text(), before)
  t.equal((await telehub(['user', 'passwd', 'a'], `${'\u{1f600}'.repeat(8)}\n`)).code, 0, 'without it may have any')
  t.match(await telehub(['user', 'list', '--scram']), { code: 2, err: /--scram: telehub user list has no such flag/ })
  const gate = await telehub(['user', 'add', 'gate', '--certificate', 'gate.example.org', '--scram', '--generate'])
  t.match(gate.out, /shown only now/)
  t.equal(gate.code, 0)
  t.ok(scramOf('gate'))
})

t.test('device pair: a code that is good once', async t => {
  const { path, users, telehub } = await place()
  const first = await telehub(['device', 'pair', 'lamp', '--allow', 'publish lamps/{client}', '--client', 'lamp-*'])
  t.match(first, { code: 0, err: '' })
  t.match(first.out, /^Added lamp \(device\) to users\.yaml\. Rules:\n {2}allow publish lamps\/\{client\}\n/)
  const code = /^ {2}([\w-]{14})$/m.exec(first.out)?.[1] ?? ''
  t.match(first.out, `curl -d '{"code":"${code}"}' -H 'content-type: application/json' http://127.0.0.1:8080/api/pair`)
  t.match(first.out, /Valid once, until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ/)
  t.match(users().get('lamp'), { kind: 'device', password: '', clients: ['lamp-*'] })
  t.match((await telehub(['user', 'list'])).out, /until 20/)
  const second = await telehub(['device', 'pair', 'lamp'])
  t.match(second.out, /^With this code lamp gets a new password/)
  await t.rejects(
    editUsers(path, file => file.redeemPairing(code, Date.now())),
    { code: 'forbidden' },
    'replaced',
  )
  const other = /^ {2}([\w-]{14})$/m.exec(second.out)?.[1] ?? ''
  const { password } = await editUsers(path, file => file.redeemPairing(other, Date.now()))
  t.ok(verifyPassword(users().get('lamp')?.password ?? '', password))
  t.match(await telehub(['device', 'pair', 'lamp', '--allow', 'read x']), {
    code: 2,
    err: /telehub user grant adds rules/,
  })
  await telehub(['user', 'add', 'boss', '--kind', 'admin', '--generate'])
  t.match(await telehub(['device', 'pair', 'boss']), {
    code: 1,
    err: 'telehub: boss is an admin, and only devices can be paired\n',
  })
})

t.test('explain: yes or no, and the line that decides', async t => {
  const { path, telehub } = await place()
  writeFileSync(
    path,
    `everyone:
  - deny publish admin/#
users:
  thermo:
    kind: device
    clients: [thermo-*]
    rules:
      - allow publish home/{user}/#
      - allow publish admin/x
      - "allow read #"
      - deny read home/secret/#
      - allow subscribe rooms/{client}
`,
  )
  const ask = (...question: string[]) => telehub(['explain', '--user', 'thermo', '--client', 'thermo-1', ...question])
  const cases: readonly [question: string[], code: number, out: string | RegExp][] = [
    [
      ['--publish', 'home/thermo/t'],
      0,
      'yes\nusers.yaml:8: allow publish home/{user}/#\n  {user} is thermo: home/thermo/#\n',
    ],
    [['--publish', 'admin/x'], 1, 'no\nusers.yaml:2: deny publish admin/#\na matching deny overrides every allow\n'],
    [
      ['--publish', 'rooms/1'],
      1,
      'no\nno rule allows user thermo to publish rooms/1\nnearest are:\n' +
        'users.yaml:8: allow publish home/{user}/#\n  {user} is thermo: home/thermo/#\n' +
        'users.yaml:9: allow publish admin/x\nusers.yaml:10: allow read #\n',
    ],
    [['--publish', '$SYS/x'], 1, "no\n$SYS/x: topics that begin with $ are the hub's own\n"],
    [['--publish', 'a/+'], 1, 'no\na/+: a topic to publish to is not empty and has no + or # or U+0000\n'],
    [
      ['--subscribe', 'home/#'],
      0,
      'yes\nusers.yaml:10: allow read #\nbut messages on topics that these rules match are not delivered:\nusers.yaml:11: deny read home/secret/#\n',
    ],
    [
      ['--subscribe', '$share/g/home/#'],
      0,
      'yes\nusers.yaml:10: allow read #\nbut messages on topics that these rules match are not delivered:\nusers.yaml:11: deny read home/secret/#\n',
    ],
    [['--subscribe', '$share/g'], 1, /a shared subscription is \$share\/\{group\}\/\{filter\}/],
    [['--subscribe', 'a/#/b'], 1, 'no\na/#/b: + and # stand alone in a level, # only as the last one\n'],
    [
      ['--read', 'home/secret/x'],
      1,
      'no\nusers.yaml:11: deny read home/secret/#\na matching deny overrides every allow\n',
    ],
    [['--read', '$hub/why/thermo-1'], 0, 'yes\nbuilt in: every client may read $hub/why/{client}\n'],
    [['--client', 'x', '--read', 'a'], 2, ''],
  ]
  for (const [question, code, out] of cases) t.match(await ask(...question), { code, out }, question.join(' '))
  t.match(await telehub(['explain', '--user', 'thermo', '--read', 'a']), {
    code: 1,
    out: 'no\nuser thermo may not use the client id thermo; allowed are thermo-*\n',
  })
  t.match(await telehub(['explain', '--user', 'nobody', '--read', 'a\x1b']), {
    code: 1,
    out: 'no\nthere is no user nobody in users.yaml\n',
  })
  writeFileSync(path, readFileSync(path, 'utf8').replace('    rules:', '    wildcards: 0\n    rules:'))
  t.match(await ask('--subscribe', 'home/#'), {
    code: 1,
    out: 'no\nusers.yaml:11: allow read #\nbut users.yaml: thermo.wildcards is 0: subscriptions with + or # are not allowed\n',
  })
  t.match(await ask('--subscribe', 'home/a'), { code: 0 })
  t.match(await ask('--subscribe', '$SYS/#'), { code: 1, out: /^no\nno rule allows user thermo/ })
  writeFileSync(path, readFileSync(path, 'utf8').replace('wildcards: 0', ''))
  t.match(await ask('--subscribe', 'home/#', '--limits.wildcards', '0'), {
    code: 1,
    out: 'no\nusers.yaml:11: allow read #\nbut the settings: limits.wildcards is 0: subscriptions with + or # are not allowed\n',
  })
  const coloured = await ask('--publish', 'a\x1b[31m')
  t.notMatch(coloured.out, '\x1b')
})

t.test('the file: as the settings name it, else beside them; a broken one is told, line by line', async t => {
  const dir = await tempDir()
  const beside = await run(dir, ['user', 'add', 'a', '--generate'])
  t.match(beside.out, /\nNo hub uses this file yet: set auth\.file: users\.yaml in telehub\.yaml\n$/)
  t.ok(existsSync(join(dir, 'users.yaml')))
  const named = await run(dir, ['user', 'add', 'a', '--generate', '--auth.file', 'other.yaml'])
  t.notMatch(named.out, 'No hub uses')
  t.ok(readUsers(join(dir, 'other.yaml')).users.has('a'))
  const away = await run(dir, ['user', 'add', 'a', '--generate', '--auth.file', 'away/users.yaml'])
  t.match(away, {
    code: 1,
    out: '',
    err: /^telehub: away\/users\.yaml: the folder \S+away does not exist; create it first, or choose/,
  })
  t.notMatch(away.err, 'ENOENT')
  // Settings that could not serve are no hindrance to making the users that they lack.
  t.equal((await run(dir, ['user', 'add', 'b', '--generate', '--host', '0.0.0.0'])).code, 0)
  const pairing = await run(dir, ['device', 'pair', 'c', '--host', '0.0.0.0', '--http.port', '9'])
  t.match(pairing.out, /http:\/\/(?!0\.0\.0\.0)\S+:9\/api\/pair/)
  const broken = 'users:\n  a: {kind: robot}\n  b: {kind: "\\e[2J"}\n'
  writeFileSync(join(dir, 'users.yaml'), broken)
  for (const args of [['list'], ['add', 'z', '--generate'], ['remove', 'a', '--yes']]) {
    const { code, err } = await run(dir, ['user', ...args])
    t.equal(code, 2)
    t.equal(
      err,
      'telehub: users.yaml:2: a.kind: given "robot", allowed are device, dashboard, service, admin\n' +
        'telehub: users.yaml:3: b.kind: given "\\u001b[2J", allowed are device, dashboard, service, admin\n',
    )
  }
  t.equal(readFileSync(join(dir, 'users.yaml'), 'utf8'), broken)
})

t.test('many at once lose nobody', async t => {
  const { users, telehub } = await place()
  const names = Array.from({ length: 8 }, (_, i) => `u${i}`)
  const ran = await Promise.all(names.map(name => telehub(['user', 'add', name, '--generate'])))
  t.same(
    ran.map(({ code }) => code),
    names.map(() => 0),
  )
  t.same([...users().keys()].sort(), names)
})

t.test('on a terminal the password is asked for twice, and not shown', async t => {
  const { dir, users } = await place()
  /** Answers each question in a pseudo terminal, which script(1) makes. */
  const type = (args: string, answers: readonly string[]): Promise<string | undefined> =>
    new Promise(resolve => {
      const command = `${process.execPath} ${cli} ${args}`
      const child = spawn('script', ['-qec', command, '/dev/null'], { cwd: dir, stdio: 'pipe' })
      t.teardown(() => child.kill('SIGKILL'))
      const left = [...answers]
      let shown = ''
      let answered = 0
      child.on('error', () => resolve(undefined))
      child.stdin.on('error', () => {})
      child.stdout.on('data', chunk => {
        shown += chunk
        const questions = shown.match(/Password of \w+: |Once more: |\[y\/N\] /g)?.length ?? 0
        for (; answered < questions; answered++) child.stdin.write(left.shift() ?? '')
      })
      child.once('close', () => resolve(shown))
    })
  const added = await type('user add a', ['correct horsX\x7fe\r', 'correct horse\r'])
  if (added === undefined) return void t.pass('there is no script(1) here')
  t.match(added, /Added a \(device\)/)
  t.notMatch(added, /correct/)
  t.ok(verifyPassword(users().get('a')?.password ?? '', 'correct horse'))
  t.match(
    await type('user passwd a', ['another one\r', 'another two\r']),
    /the two passwords differ; nothing was changed/,
  )
  t.match(await type('user passwd a', ['pasted words\rpasted words\r', '']), /Changed the password of a/)
  t.match(await type('user passwd a', ['half a pass\x03', '']), /cancelled; nothing was changed/)
  t.ok(verifyPassword(users().get('a')?.password ?? '', 'pasted words'))
  t.match(await type('user remove a', ['n\r']), /nothing was changed/)
  t.match(await type('user remove a', ['y\r']), /Removed a from/)
})
