import { join } from 'node:path'
import t from 'tap'
import type { MappingRule } from '../../src/config/settings.js'
import type { JobProgress } from '../../src/contract/contract.js'
import { DeadLetterFiles } from '../../src/dead-letters/dead-letters.js'
import { HubError } from '../../src/errors.js'
import type { DeadLetter, Message, Outcome } from '../../src/model.js'
import { Mapping } from '../../src/pipeline/mapping.js'
import type { KeptMessages, ReplayHandler } from '../../src/pipeline/past/kept-messages.js'
import { type LetterAccount, type ReplayJob, Replays } from '../../src/pipeline/replay.js'
import { message } from '../contract/queue.js'
import { eventually } from '../harness.js'
import { tempDir } from '../services/service.js'

const json = { depth: 20, fields: 1_000, inflated: 1e6 }

const letter = (n: number, reason = 'bad_json'): DeadLetter => ({
  message: message(n),
  reason,
  detail: '',
  failedAt: n,
  attempts: 1,
})

async function open(
  test: { teardown(end: () => unknown): void },
  more: Partial<ReplayHandler & LetterAccount & KeptMessages> = {},
) {
  const dead = new DeadLetterFiles({
    dir: join(await tempDir(), 'dead'),
    limitBytes: 1e9,
    log: { warn: sentence => t.fail(sentence) },
    incidents: { report: (_, sentence) => t.fail(sentence) },
    dropped: () => {
      t.fail('nothing is over the limit')
    },
  })
  await dead.start()
  const moved: string[] = []
  const replays = new Replays({
    dead,
    handler: {
      handle: async messages => messages.map(() => 'ack'),
      handleLetters: async letters => letters.map((): Outcome => 'ack'),
      ...more,
    },
    account: {
      moved: async (letters, to) => void moved.push(...letters.map(({ message }) => `${message.sequence} ${to}`)),
      ...more,
    },
    kept: {
      past: () => ({ total: 0, batches: (async function* () {})() }),
      above: () => (async function* () {})(),
      ...more,
    },
    swap: { taskOf: () => async () => {} },
    trials: { trial: () => new Mapping([], json), withOwn: rules => new Mapping(rules as MappingRule[], json) },
  })
  test.teardown(async () => {
    await replays.stop()
    await dead.stop()
  })
  const run = async (job: ReplayJob): Promise<JobProgress> => {
    const number = replays.begin(job)
    return eventually(() => replays.progress(number).finished && replays.progress(number), 'the job ends')
  }
  return { dead, replays, moved, run }
}

t.test('what is stored now is taken out, the rest stays; the account is told before', async t => {
  const isGood = ({ message: { sequence } }: DeadLetter) => sequence % 3 !== 0
  const { dead, moved, run } = await open(t, {
    handleLetters: async letters =>
      letters.map((one): Outcome => (isGood(one) ? 'ack' : { reason: 'bad_json', detail: 'still' })),
  })
  await dead.put(Array.from({ length: 1_200 }, (_, n) => letter(n)))
  t.match(await run({ kind: 'replay', filter: {} }), { done: 1_200, stored: 800, kept: 400, dropped: 0 })
  t.equal((await dead.list({}, 10_000)).length, 400)
  t.equal(moved.length, 800)
  t.match(await run({ kind: 'drop', filter: { reason: 'bad_json' } }), { done: 400, dropped: 400, stored: 0 })
  t.same(await dead.list({}, 10), [])
})

t.test('a store that is away, or an account that cannot be written, loses no letter', async t => {
  for (const more of [
    { handleLetters: () => Promise.reject(new HubError('store_unavailable', 'InfluxDB is away')) },
    { moved: () => Promise.reject(new HubError('spool_failed', 'the disk is full')) },
  ]) {
    const { dead, run } = await open(t, more)
    await dead.put([letter(1), letter(2)])
    t.match(await run({ kind: 'replay', filter: {} }), { finished: true, error: /away|full/ })
    t.equal((await dead.list({}, 10)).length, 2)
  }
})

t.test('one at a time; cancelled between two batches; the past under a filter', async t => {
  let release = () => {}
  const hold = new Promise<void>(resolve => {
    release = resolve
  })
  const handled: Message[] = []
  const { replays } = await open(t, {
    handle: async messages => {
      handled.push(...messages)
      await hold
      return messages.map(() => 'ack')
    },
    past: (_past, signal) => ({
      total: 30,
      batches: (async function* () {
        for (let n = 0; n < 3 && !signal.aborted; n++) yield Array.from({ length: 10 }, (_, i) => message(n * 10 + i))
      })(),
    }),
  })
  const job = replays.begin({ kind: 'past', past: { from: 0, to: 1, topic: undefined } })
  await eventually(() => handled.length === 10, 'the first batch is under way')
  t.throws(() => replays.begin({ kind: 'replay', filter: {} }), { code: 'busy' })
  t.match(replays.progress(job), { total: 30, finished: false })
  replays.cancel(job)
  release()
  t.match(await eventually(() => replays.progress(job).finished && replays.progress(job), 'it ends'), {
    done: 10,
    stored: 10,
    error: /cancelled/,
  })
  t.throws(() => replays.progress(job + 1), { code: 'not_found' })
})
