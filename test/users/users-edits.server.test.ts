import { spawn } from 'node:child_process'
import { lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { hashSecret } from '../../src/passwords/passwords.js'
import { readUsers, usualRules } from '../../src/users/users.js'
import { editUsers, type NewUser } from '../../src/users/users-file.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

/** The users file under edits of several processes, some of which are killed. */

const hash = hashSecret('a secret')

const device = (name: string): NewUser => ({
  name,
  kind: 'device',
  password: hash,
  clients: [],
  certificates: [],
  rules: usualRules.device,
})

async function exampleFile() {
  const path = join(await tempDir(), 'users.yaml')
  writeFileSync(
    path,
    `users:
  # in the hall
  thermo:
    kind: device
    password: ${hash}
    rules:
      - allow publish home/{user}/#
  screen: {kind: dashboard, rules: ["allow read #"]}
`,
  )
  return path
}

/** A process that runs this code, in which `edit` changes the file. */
function editor(path: string, code: string) {
  const module = (name: string) => JSON.stringify(new URL(`../../src/users/${name}.js`, import.meta.url).href)
  const source = `import { editUsers } from ${module('users-file')}
    const device = name => ({ name, kind: 'device', password: ${JSON.stringify(hash)}, clients: [], certificates: [], rules: [] })
    const edit = act => editUsers(${JSON.stringify(path)}, act)
    process.stdout.write('started')
    ${code}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'inherit'] })
  const started = new Promise<void>(resolve => child.stdout.once('data', () => resolve()))
  const ended = new Promise<number | null>(resolve => child.once('close', resolve))
  return { child, started, ended }
}

t.test('edits of several processes, and of several in each, lose none', async t => {
  const path = await exampleFile()
  const editors = ['a', 'b', 'c'].map(name =>
    editor(
      path,
      `await Promise.all(Array.from({ length: 20 }, (_, i) => edit(file => file.addUser(device('${name}' + i)))))`,
    ),
  )
  t.teardown(() => editors.forEach(({ child }) => void child.kill('SIGKILL')))
  await Promise.all(Array.from({ length: 20 }, (_, i) => editUsers(path, one => one.addUser(device(`d${i}`)))))
  t.same(await Promise.all(editors.map(({ ended }) => ended)), [0, 0, 0])
  const read = readUsers(path)
  t.equal(read.users.size, 82)
  t.match(readFileSync(path, 'utf8'), '# in the hall')
  t.same(readdirSync(join(path, '..')), ['users.yaml'])
})

t.test('kill -9 in the middle of an edit leaves a whole file, and a lock that does not hold', async t => {
  const path = await exampleFile()
  // Large enough that an edit takes its time.
  await editUsers(path, one => {
    for (let i = 0; i < 500; i++) one.addUser(device(`filler${i}`))
  })
  let killedInside = 0
  for (let round = 0; round < 12; round++) {
    const { child, started, ended } = editor(
      path,
      `for (let i = 0; ; i++) await edit(file => file.addRule('thermo', 'allow read r${round}/' + i))`,
    )
    t.teardown(() => child.kill('SIGKILL'))
    await started
    await eventually(
      () =>
        readUsers(path)
          .users.get('thermo')
          ?.rules.some(({ filter }) => filter.startsWith(`r${round}/`)),
      'it edits',
    )
    await sleep(Math.random() * 60)
    child.kill('SIGKILL')
    await ended
    if (lstatSync(`${path}.lock`, { throwIfNoEntry: false })) killedInside++
    const read = readUsers(path)
    t.equal(read.users.size, 502)
    t.equal(statSync(path).mode & 0o777, 0o600)
    await editUsers(path, one => one.addRule('thermo', `allow read after${round}`))
  }
  t.ok(killedInside > 0, `${killedInside} of 12 were inside`)
  t.equal(
    readUsers(path)
      .users.get('thermo')
      ?.rules.filter(({ filter }) => filter.startsWith('after')).length,
    12,
  )
  t.same(readdirSync(join(path, '..')), ['users.yaml'])
})
