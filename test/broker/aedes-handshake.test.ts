import t from 'tap'
import { type AedesConnection, AedesHandshake, type Controlled } from '../../src/broker/aedes-handshake.js'
import type { Sessions } from '../../src/sessions/sessions.js'
import { eventually } from '../harness.js'

/** A handshake, and what Aedes has decided about its clients. */
async function handshake() {
  const said: string[] = []
  const wills = { put: () => {}, delete: () => undefined }
  const aedes = new AedesHandshake({
    sessions: { wills } as unknown as Sessions,
    will: (_client, { topic }, done) => {
      said.push(`will ${topic}`)
      done()
    },
    log: { debug: () => {} },
  })
  await aedes.start('under-test')
  t.teardown(() => aedes.stop())
  const open = (name: string, id = name): AedesConnection => {
    const will = { topic: `will/of/${id}`, payload: Buffer.from('gone'), qos: 0, retain: false } as const
    const owner: Controlled = {
      ...{ id, name, user: '', will: will as unknown as Controlled['will'] },
      answered: code => said.push(`${id} answered ${code}`),
      ready: () => said.push(`${id} ready`),
      end: () => {
        said.push(`${id} end`)
        // As the client's connection does when it is closed.
        setImmediate(() => port.close())
      },
      left: () => said.push(`${id} left`),
    }
    const port = aedes.open(owner)
    return port
  }
  const until = (text: string) => eventually(() => said.includes(text), text)
  return { said, open, until }
}

t.test('a client that is connected keeps nothing of its handshake, and its will', async t => {
  const { said, open, until } = await handshake()
  const port = open('a')
  await until('a ready')
  await eventually(() => port.listenerCount('readable') === 0, 'Aedes reads no packet any more')
  t.same(said, ['a answered 0', 'a ready'])
  port.close()
  await until('a left')
  t.same(said.slice(2).sort(), ['a left', 'will will/of/a'])
})

t.test('DISCONNECT forgets the will, also before the handshake is over', async t => {
  for (const isEarly of [false, true]) {
    const { said, open, until } = await handshake()
    const port = open('a')
    await until('a ready')
    if (!isEarly) await eventually(() => port.listenerCount('readable') === 0, 'released')
    port.goodbye()
    await until('a left')
    t.notMatch(said.join(), 'will', `${isEarly}`)
    t.ok(said.includes('a end'))
  }
})

t.test('another client of the same name takes over from one that is connected', async t => {
  const { said, open, until } = await handshake()
  const first = open('a', 'first')
  await until('first ready')
  await eventually(() => first.listenerCount('readable') === 0, 'released')
  open('a', 'second')
  await until('second ready')
  t.ok(said.indexOf('first end') < said.indexOf('second ready'), said.join())
  await until('first left')
})
