import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Answer } from '../../src/contract/contract.js'
import { makeKey } from '../../src/users/users.js'
import { usersFile } from '../fixtures/users.js'
import { asAdmin, connectMqtt, eventually, history, type RunningHub, runCli, startHub } from '../harness.js'

type RuleCheck = Answer<'POST /api/mapping/check'>
type Rules = Answer<'GET /api/mapping'>

async function post<T>(
  hub: RunningHub,
  path: string,
  body: object,
  headers = {},
): Promise<{ status: number; body: T }> {
  const response = await fetch(hub.httpUrl + path, {
    method: 'POST',
    headers: { ...asAdmin(hub.dir), 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  return { status: response.status, body: JSON.parse(text.trim().split('\n').at(-1) ?? '') as T }
}

t.test(
  'a dead letter becomes a rule, the rule is saved and the letters are replayed; over a restart and kill -9',
  async t => {
    const file = join(t.testdir(), 'telehub.yaml')
    writeFileSync(file, 'mapping:\n  - {topic: "plant/#", measurement: plant, types: {rpm: number}}\n')
    const hub = await startHub(t, { config: file })
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'press' })
    for (const machine of ['press1', 'press2'])
      await device.publishAsync(`plant/hall/${machine}`, '{"rpm":"fast"}', { qos: 1 })
    await device.publishAsync('other/thing', Buffer.from([0xff, 0xfd]), { qos: 1 })
    await eventually(
      async () => (await hub.get<{ dead: unknown[] }>('/api/dead')).body.dead.length === 3,
      'dead letters',
    )

    const { body: proposed } = await post<RuleCheck>(hub, '/api/mapping/check', { topic: 'plant/hall/press1' })
    t.match(proposed, {
      proposed: true,
      mistakes: [],
      messages: [
        {
          now: { outcome: 'dead', reason: 'not_of_type', place: { from: 'settings', number: 1 } },
          tried: { outcome: 'stored' },
        },
      ],
      matches: { count: 2 },
    })
    t.ok(proposed.messages[0]?.letter)
    const rule = {
      topic: 'plant/{hall}/{machine}',
      measurement: 'press',
      fields: { rpm: 'speed' },
      units: { speed: '1/min' },
    }
    t.same(proposed.fields, [{ name: 'rpm', value: 'fast' }])
    const { body: check } = await post<RuleCheck>(hub, '/api/mapping/check', { rule, topic: 'plant/hall/press1' })
    t.match(check.messages[0]?.tried, {
      rule: rule.topic,
      place: { from: 'hub', number: 1 },
      points: [
        { measurement: 'press', tags: { hall: 'hall', machine: 'press1' }, fields: [{ name: 'speed', unit: '1/min' }] },
      ],
    })
    t.same(check.fields, [{ name: 'rpm', value: 'fast' }], 'as the payload names them')
    t.same(
      check.matches.topics.map(({ topic, now, taken }) => [topic, now.place?.from, taken]),
      [
        ['plant/hall/press1', 'settings', true],
        ['plant/hall/press2', 'settings', true],
      ],
    )
    t.equal((await hub.get<Rules>('/api/mapping')).body.undo, 0, 'nothing was saved by trying')
    const wrong = await post<{ message: string }>(hub, '/api/mapping', {
      rules: [{ ...rule, topic: 'plant/{hall}/#' }, { topic: 1 }],
    })
    t.equal(wrong.status, 400)
    t.match(wrong.body.message, /rule 2: topic: given 1.*rule 2: measurement: missing/)

    const saved = await post<Rules>(hub, '/api/mapping', { rules: [rule] })
    t.match(saved.body, {
      undo: 1,
      rules: [{ place: { from: 'hub', number: 1 } }, { place: { from: 'settings', number: 1 } }],
    })
    const replayed = await post<object>(hub, '/api/dead/replay', { topic: 'plant/+/+' })
    t.match(replayed.body, { done: 2, stored: 2, kept: 0, finished: true })
    t.same(await history(hub, 'press,hall=hall,machine=press1 speed'), ['fast'])
    t.match((await hub.get<{ dead: object[] }>('/api/dead')).body.dead, [{ topic: 'other/thing' }])
    const none = await post<object>(hub, '/api/dead/replay', { topic: 'plant/+/#' })
    t.match(none.body, { done: 0, stored: 0, finished: true })
    t.equal((await post(hub, '/api/dead/replay', { topic: 'plant/#/x' })).status, 400)

    const cli = async (...args: string[]) => {
      const run = runCli([...args, '--url', hub.httpUrl, '--data.dir', hub.dir])
      t.equal(await run.exited, 0, run.stderr())
      return run.stdout()
    }
    t.match(await cli('map', 'rules'), /hub 1 +plant\/\{hall\}\/\{machine\} +press[\s\S]*settings 1 +plant\/#/)
    t.match(await cli('map', 'rules', '--yaml'), /^mapping:\n {2}- \{"topic":"plant\/\{hall\}/)
    t.match(
      await cli('map', 'try', 'plant/a/b', '{"rpm":1}'),
      /decided by +rule plant\/\{hall\}\/\{machine\} \(hub 1\)/,
    )
    t.match(await cli('dead', 'replay', '--topic', 'other/#'), /1 message, 1 rejected again/)
    const audit = runCli(['audit', '--data.dir', hub.dir])
    t.equal(await audit.exited, 0)
    t.match(audit.stdout(), /change of mapping rules/)

    await hub.kill()
    const again = await startHub(t, { config: file }, hub.dir)
    const after = await connectMqtt(t, again.mqttUrl, { clientId: 'press-again' })
    await after.publishAsync('plant/hall/press3', '{"rpm":7}', { qos: 1 })
    await eventually(
      async () =>
        JSON.stringify(await history(again, 'press,hall=hall,machine=press3 speed').catch(() => [])) === '[7]',
      'by the rule of the hub',
    )
    // The hub is killed while rules are saved, time and again: the file is whole, and what was answered is in force.
    let current = again
    let last = rule.measurement
    for (let round = 0; round < 3; round++) {
      const hub = current
      let isAnswered = false
      const measurement = `press${round}`
      const save = post<Rules>(hub, '/api/mapping', { rules: [{ ...rule, measurement }] }).then(
        () => {
          isAnswered = true
        },
        () => {},
      )
      await new Promise(resolve => setTimeout(resolve, round * 3))
      await hub.kill()
      await save
      current = await startHub(t, { config: file }, hub.dir)
      const { rules } = (await current.get<Rules>('/api/mapping')).body
      const now = String(rules[0]?.rule.measurement)
      t.ok(now === measurement || (!isAnswered && now === last), `${now} after ${last}`)
      last = now
    }
    const undone = await post<Rules>(current, '/api/mapping/undo', {})
    t.equal(undone.status, 200)
    t.not(undone.body.rules[0]?.rule.measurement, last)
    t.equal(await current.stop(), 0)
  },
)

t.test('only admins save; services that read everything try', async t => {
  const users = await usersFile()
  await users.add('root', ['allow all #'], { kind: 'admin' })
  await users.add('reader', ['allow read #', 'allow read $hub/#'], { kind: 'service' })
  const keys = new Map<string, { authorization: string }>()
  for (const name of ['root', 'reader']) {
    const { text, key } = makeKey('', 0)
    await users.edit(file => file.addKey(name, key))
    keys.set(name, { authorization: `Bearer ${text}` })
  }
  const hub = await startHub(t, users.settings)
  const rule = { topic: 'a/{b}', measurement: 'a' }
  t.equal((await post(hub, '/api/mapping', { rules: [rule] }, keys.get('reader'))).status, 403)
  t.equal((await post(hub, '/api/mapping/undo', {}, keys.get('reader'))).status, 403)
  t.equal((await post(hub, '/api/mapping/check', { rule }, keys.get('reader'))).status, 200)
  const saved = await post<Rules>(hub, '/api/mapping', { rules: [rule] }, keys.get('root'))
  t.match(saved.body, { changes: [{ by: 'root', what: 'a/{b} added' }] })
  t.equal(await hub.stop(), 0)
})
