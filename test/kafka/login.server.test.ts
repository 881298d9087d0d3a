import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { KafkaLogin } from '../../src/kafka/kafka.js'
import { message } from '../contract/queue.js'
import { runCli } from '../harness.js'
import { startMockKafka } from '../services/kafka.js'
import { tempDir } from '../services/service.js'
import { freshPrefix, hubKafka, plainLogin } from './client.js'

const dir = await tempDir()
const made = runCli(['cert', '--name', '127.0.0.1'], {}, dir)
if (await made.exited) throw new Error(made.stderr())
const at = (name: string) => join(dir, 'certs', name)
const pem = (name: string) => readFileSync(at(name), 'utf8')

const user = { user: 'hub', password: 'correct horse' }
const cluster = await startMockKafka({ user, tls: { cert: pem('server.pem'), key: pem('server.key') } })
t.teardown(() => cluster.stop())

const open = (login: Partial<KafkaLogin>) =>
  hubKafka(cluster, {
    prefix: freshPrefix(),
    login: { ...plainLogin(cluster), tls: true, ca: at('ca.pem'), ...user, ...login },
  })

for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'] as const)
  t.test(`${mechanism} over TLS`, async t => {
    const kafka = open({ mechanism })
    t.teardown(() => kafka.stop())
    await kafka.publish([message(1)])
    const batch = await kafka.reader('record').next(1, AbortSignal.timeout(20_000))
    t.same(batch?.messages, [message(1)])
    const wrong = open({ mechanism, password: 'battery staple' })
    t.teardown(() => wrong.stop())
    const error = await wrong.publish([message(1)]).catch(error => error)
    t.match(error, { code: 'queue_unavailable', message: /Kafka: SASL .*(?:wrong name or password|failed)/i })
    t.notMatch(error.message, 'battery')
  })

t.test('without the authority, and without TLS, nothing is sent', async t => {
  for (const login of [{ ca: '' }, { tls: false }] as const) {
    const kafka = open({ mechanism: 'plain', ...login })
    t.teardown(() => kafka.stop())
    await t.rejects(kafka.publish([message(1)]), { code: 'queue_unavailable' })
  }
})

t.test('a file with the password: read when the owner alone may read it', async t => {
  const passwordFile = join(dir, 'password')
  writeFileSync(passwordFile, `${user.password}\n`, { mode: 0o600 })
  const kafka = open({ mechanism: 'plain', password: '', passwordFile })
  t.teardown(() => kafka.stop())
  await kafka.publish([message(1)])
  chmodSync(passwordFile, 0o644)
  t.throws(() => open({ mechanism: 'plain', passwordFile }), {
    code: 'bad_settings',
    message: /kafka\.sasl\.passwordFile: others than its owner may read .*chmod 600/,
  })
  t.throws(() => open({ mechanism: 'plain', passwordFile: join(dir, 'none') }), { code: 'bad_settings' })
})
