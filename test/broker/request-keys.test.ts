import { cpSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { isComplete, RequestKeys, sequencesOf, withKey } from '../../src/broker/request-keys.js'
import { type Message, requestClientId } from '../../src/model.js'
import { Counters } from '../../src/observe/counters.js'
import { FaultyFiles } from '../fixtures/faulty-files.js'
import { Random } from '../fixtures/packets.js'
import { quietLog } from '../fixtures/quiet.js'
import { tempDir } from '../services/service.js'

/** Keys over a spool in which nothing is found, at a time that the test sets. */
async function open(t: Test, dir: string, time: { now: number }) {
  const counters = new Counters()
  const sink = { sequence: 0, replay: () => ({ skipTo: () => {}, next: () => undefined, close: () => {} }) }
  const incidents = { report: (_kind: string, sentence: string) => t.fail(sentence) }
  const clock = { now: () => time.now }
  const keys = new RequestKeys({ dir, sink, clock, counters, incidents, log: quietLog })
  keys.start()
  let next = 1
  /** Carries a request out, all but the last `missing` messages; returns whether that was done before. */
  const run = async (user: string, key: string, body = key, missing = 0) => {
    const request = await keys.enter(user, { key, body: [body] }, 3)
    if (isComplete(request)) return sequencesOf(request)
    const known = sequencesOf(request)
    keys.leave(
      request,
      known.map((sequence, i) => sequence || (i < 3 - missing ? next++ : 0)),
    )
    return undefined
  }
  return { keys, counters, run }
}

t.test('a key is kept for a day, with what was published under it', async t => {
  const dir = await tempDir()
  const time = { now: 1e15 }
  const first = await open(t, dir, time)
  t.equal(await first.run('ann', 'a'), undefined)
  t.same(await first.run('ann', 'a'), [1, 2, 3])
  t.equal(await first.run('bob', 'a'), undefined, 'the key of another user')
  t.equal(await first.run('ann', 'partly', 'x', 1), undefined)
  t.equal(await first.run('ann', 'partly', 'x'), undefined, 'goes on')
  t.same(await first.run('ann', 'partly', 'x'), [7, 8, 9])
  await t.rejects(first.run('ann', 'a', 'another body'), { code: 'key_reused' })
  t.equal(await first.run('ann', 'none', 'x', 3), undefined)
  t.equal(await first.run('ann', 'none', 'other'), undefined, 'nothing was published under it')
  await first.keys.stop()

  time.now += 23 * 3_600e6
  const second = await open(t, dir, time)
  t.same(await second.run('ann', 'a'), [1, 2, 3])
  t.same(await second.run('ann', 'partly', 'x'), [7, 8, 9])
  time.now += 2 * 3_600e6
  t.equal(await second.run('ann', 'a', 'another body'), undefined, 'forgotten after a day')
  t.equal(second.counters.givenUp.size, 0)
  await second.keys.stop()
})

t.test('a request that is running makes others with its key wait', async t => {
  const { keys } = await open(t, await tempDir(), { now: 1e15 })
  const request = await keys.enter('', { key: 'k', body: ['b'] }, 1)
  const waiting = keys.enter('', { key: 'k', body: ['b'] }, 1)
  await t.rejects(keys.enter('', { key: 'k', body: ['other'] }, 1), { code: 'key_reused' })
  keys.leave(request, [7])
  t.same(sequencesOf(await waiting), [7])
  await keys.stop()
})

t.test('the keys of a user are bounded: the oldest is forgotten, and counted', async t => {
  const { keys, counters, run } = await open(t, await tempDir(), { now: 1e15 })
  for (let n = 0; n <= 20_000; n++) await run('ann', `${n}`)
  await run('bob', 'b')
  t.same([...counters.givenUp], [['request_keys', 1]])
  t.ok(await run('ann', '1'))
  t.ok(await run('bob', 'b'))
  t.equal(await run('ann', '0'), undefined)
  await keys.stop()
})

/*
 * Requests of two users in parallel, on a disk that fails at random, with the hub killed again and again: the spool of
 * the model has each message of a request at most once, and a request that was answered gets the same answer.
 */
const seeds = process.env.KEYS_SEED ? [Number(process.env.KEYS_SEED)] : Array.from({ length: 6 }, (_, n) => n + 1)
for (const seed of seeds) {
  t.test(`killed at any moment, with a disk that fails: nothing is published twice (seed ${seed})`, async t => {
    const random = new Random(seed)
    const files = new FaultyFiles(random)
    const spool: Message[] = []
    const sink = {
      get sequence() {
        return spool.length
      },
      replay: () => {
        let at = 0
        const skipTo = (after: number) => {
          at = Math.max(at, after)
        }
        return { skipTo, next: () => spool[at++], close: () => {} }
      },
    }
    const clock = { now: () => 1e15 }
    const incidents = { report: (_kind: string, sentence: string) => t.fail(sentence) }
    const openKeys = (dir: string) => {
      const counters = new Counters()
      const keys = new RequestKeys({ dir, sink, clock, counters, incidents, log: quietLog, files, sweepMs: 1 })
      keys.start()
      return keys
    }
    const answers = new Map<string, readonly number[]>()
    const publish = async (keys: RequestKeys, user: string, key: string) => {
      const count = 1 + (Number(key) % 3)
      const request = await keys.enter(user, { key, body: [key] }, count)
      const sequences = sequencesOf(request)
      if (!isComplete(request)) {
        for (let index = 0; index < count; index++) {
          // What the spool refuses is missing at first.
          if (sequences[index] || random.chance(10)) continue
          sequences[index] = spool.length + 1
          spool.push({
            ...{
              sequence: spool.length + 1,
              receivedAt: 1e15,
              topic: key,
              payload: Buffer.alloc(0),
              qos: 1,
              retain: false,
            },
            ...{ clientId: requestClientId(user), user, packetId: 0, properties: withKey(request, index, undefined) },
          })
        }
        if (random.chance(30)) await sleep(1)
        keys.leave(request, sequences)
      }
      if (sequences.includes(0)) return
      const before = answers.get(`${user} ${key}`)
      if (before) t.same(sequences, before, `the answer to ${key} of ${user}`)
      answers.set(`${user} ${key}`, sequences)
    }

    let dir = await tempDir()
    let keys = openKeys(dir)
    const old: RequestKeys[] = []
    for (let round = 0; round < 12; round++) {
      await keys.enter('', { key: 'begin', body: [`${round}`] }, 1).then(request => keys.leave(request, [0]))
      files.percent = random.pick([0, 0, 20])
      const lanes = Array.from({ length: 4 }, async () => {
        for (let n = 0; n < 20; n++) {
          await publish(keys, random.pick(['ann', 'bob']), String(random.below(40)))
          if (random.chance(20)) await sleep(1)
        }
      })
      if (random.chance(70)) await Promise.all(lanes)
      files.percent = 0
      // Killed: what is on disk at this moment is all that is left.
      const next = await tempDir()
      cpSync(dir, next, { recursive: true })
      await Promise.all(lanes)
      old.push(keys)
      dir = next
      keys = openKeys(dir)
    }
    for (const one of [...old, keys]) await one.stop()
    const published = spool.map(({ user, topic, properties }) => `${user} ${topic} ${properties}`)
    t.equal(new Set(published).size, published.length, `${published.length} messages, each once`)
    t.ok(answers.size > 30)
  })
}
