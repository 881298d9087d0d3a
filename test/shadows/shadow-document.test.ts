import t from 'tap'
import {
  acceptedOf,
  deltaMessage,
  deltaOf,
  documentsOf,
  documentText,
  parseDocument,
  readRequest,
  type ShadowDocument,
  ShadowFault,
  updated,
  updateOf,
  wholeOf,
} from '../../src/shadows/shadow-document.js'
import { Random } from '../fixtures/packets.js'

const request = (value: unknown) => updateOf(readRequest(Buffer.from(JSON.stringify(value))))
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

function update(document: ShadowDocument | undefined, value: unknown, now = 1): ShadowDocument {
  return updated(document, document?.version ?? 0, request(value), now)
}

/** A simple reference: paths of leaves. Each leaf has its value as JSON, and when it was set. */
type Leaves = Map<string, readonly [json: string, time: number]>

const isBranch = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function setLeaves(leaves: Leaves, path: readonly string[], patch: Record<string, unknown>, now: number): void {
  const keyOf = (names: readonly string[]) => names.map(name => JSON.stringify(name)).join('>')
  for (const [name, value] of Object.entries(patch)) {
    const names = [...path, name]
    const key = keyOf(names)
    const clear = () => {
      for (const known of leaves.keys()) if (known === key || known.startsWith(`${key}>`)) leaves.delete(known)
    }
    if (value === null) clear()
    else if (isBranch(value)) {
      leaves.delete(key)
      setLeaves(leaves, names, value, now)
    } else {
      clear()
      leaves.set(key, [JSON.stringify(value), now])
    }
  }
}

function leavesOf(state: Record<string, unknown> | undefined, metadata: Record<string, unknown> | undefined): Leaves {
  const leaves: Leaves = new Map()
  const walk = (value: Record<string, unknown>, meta: Record<string, unknown>, path: readonly string[]) => {
    for (const [name, item] of Object.entries(value)) {
      const names = [...path, JSON.stringify(name)]
      const stamp = meta[name]
      if (isBranch(item)) walk(item, stamp as Record<string, unknown>, names)
      else leaves.set(names.join('>'), [JSON.stringify(item), timeOf(stamp)])
    }
  }
  if (state && metadata) walk(state, metadata, [])
  return leaves
}

function timeOf(stamp: unknown): number {
  if (Array.isArray(stamp)) return stamp.length === 0 ? 0 : timeOf(stamp[0])
  const { timestamp } = stamp as { timestamp?: number }
  return timestamp ?? timeOf(Object.values(stamp as object)[0])
}

const isSameMap = (one: Leaves, other: Leaves) =>
  one.size === other.size && [...one].every(([key, value]) => String(other.get(key)) === String(value))
const isSameSet = (one: Set<string>, other: Set<string>) =>
  one.size === other.size && [...one].every(key => other.has(key))

const names = ['a', 'b', '__proto__', 'constructor', '7', 'ü', 'toString']

function someValue(random: Random, depth: number): unknown {
  if (depth < 4 && random.chance(35)) return somePatch(random, depth + 1)
  return random.pick([null, true, false, 0, -1.5, 'x', '', [], [1], [[1], 'y'], null])
}

function somePatch(random: Random, depth: number): Record<string, unknown> {
  // As a text, so that __proto__ is a name like any other.
  const some = Array.from(
    { length: random.below(4) },
    () => `${JSON.stringify(random.pick(names))}:${JSON.stringify(someValue(random, depth))}`,
  )
  return JSON.parse(`{${some.join(',')}}`) as Record<string, unknown>
}

/** Whether a value has an empty array, of which no stamp says when it was set, or an empty object. */
const hasEmpty = (value: unknown): boolean => /\[\]|\{\}/.test(JSON.stringify(value))

t.test('random updates leave what a simple model has', async t => {
  const seeds = process.env.SHADOW_SEED ? [Number(process.env.SHADOW_SEED)] : [1, 2, 3, 4, 5].map(n => n * 7_919)
  for (const seed of seeds) {
    t.comment(`seed ${seed}; again: SHADOW_SEED=${seed}`)
    const random = new Random(seed)
    const model = { desired: new Map() as Leaves, reported: new Map() as Leaves }
    let document: ShadowDocument | undefined
    for (let step = 1; step <= 400; step++) {
      const state: Record<string, unknown> = {}
      for (const section of ['desired', 'reported'] as const) {
        if (random.chance(40)) continue
        state[section] = random.chance(3) ? null : somePatch(random, 0)
        if (hasEmpty(state[section])) delete state[section]
        else if (state[section] === null) model[section].clear()
        else setLeaves(model[section], [], state[section] as Record<string, unknown>, step)
      }
      document = parseDocument(documentText(update(document, { state }, step)))
      const whole = plain(wholeOf(document)) as {
        state: Record<string, Record<string, unknown>>
        metadata: Record<string, Record<string, unknown>>
      }
      for (const section of ['desired', 'reported'] as const) {
        const found = leavesOf(whole.state[section], whole.metadata[section])
        if (!isSameMap(found, model[section])) t.same(found, model[section], `seed ${seed}, step ${step}, ${section}`)
      }
      const expected = new Set(
        [...model.desired].filter(([key, [json]]) => model.reported.get(key)?.[0] !== json).map(([key]) => key),
      )
      const delta = deltaOf(document)
      const differing = plain(delta?.state ?? {}) as Record<string, unknown>
      const metadata = delta ? (plain(deltaMessage(document, delta)) as { metadata: object }).metadata : {}
      const got = new Set(leavesOf(differing, metadata as Record<string, unknown>).keys())
      if (!isSameSet(got, expected)) t.same([...got].sort(), [...expected].sort(), `seed ${seed}, step ${step}, delta`)
      t.equal(document.version, step)
    }
  }
})

t.test('answers are those of AWS', async t => {
  const first = { state: { desired: { color: 'red', list: [1, { x: 2 }] }, reported: { color: 'green' } } }
  const before = update(undefined, first, 10)
  t.same(plain(wholeOf(before)), {
    state: { ...first.state, delta: { color: 'red', list: [1, { x: 2 }] } },
    metadata: {
      desired: { color: { timestamp: 10 }, list: [{ timestamp: 10 }, { x: { timestamp: 10 } }] },
      reported: { color: { timestamp: 10 } },
    },
    version: 1,
    timestamp: 10,
  })
  const asked = request({ state: { reported: { color: 'red', old: null } } })
  const after = updated(before, 1, asked, 12)
  t.same(plain(acceptedOf(asked, after)), {
    state: { reported: { color: 'red', old: null } },
    metadata: { reported: { color: { timestamp: 12 } } },
    version: 2,
    timestamp: 12,
  })
  const delta = deltaOf(after)
  t.ok(delta)
  if (delta) {
    t.same(plain(deltaMessage(after, delta)), {
      version: 2,
      timestamp: 12,
      state: { list: [1, { x: 2 }] },
      metadata: { list: [{ timestamp: 10 }, { x: { timestamp: 10 } }] },
    })
  }
  t.match(plain(documentsOf(before, after)), {
    previous: { version: 1, state: { reported: { color: 'green' } } },
    current: { version: 2, state: { reported: { color: 'red' } } },
    timestamp: 12,
  })
  const gone = update(after, { state: { desired: null, reported: { color: null } } }, 13)
  t.same(plain(wholeOf(gone)), { state: {}, metadata: {}, version: 3, timestamp: 13 })
})

t.test('requests that are refused have the code and the text of AWS', async t => {
  const nested = (levels: number): unknown => (levels === 0 ? 1 : { x: nested(levels - 1) })
  const rows: readonly (readonly [what: string | Buffer, code: number, message: string])[] = [
    ['{', 400, 'Invalid JSON'],
    ['[]', 400, 'Invalid JSON'],
    ['{}', 400, 'Missing required node: state'],
    ['{"state":1}', 400, 'State node must be an object'],
    ['{"state":{"desired":[]}}', 400, 'Desired node must be an object'],
    ['{"state":{"reported":"x"}}', 400, 'Reported node must be an object'],
    ['{"state":{"wished":{}}}', 400, 'State contains an invalid node'],
    ['{"state":{"desired":{"a":[null]}}}', 400, 'State contains an invalid node'],
    ['{"state":{"desired":{"a":1e999}}}', 400, 'State contains an invalid node'],
    ['{"state":{},"version":"1"}', 400, 'Invalid version'],
    ['{"state":{},"version":-1}', 400, 'Invalid version'],
    [`{"state":{},"clientToken":"${'x'.repeat(65)}"}`, 400, 'Invalid clientToken'],
    ['{"state":{},"clientToken":7}', 400, 'Invalid clientToken'],
    [JSON.stringify({ state: { desired: nested(10) } }), 400, 'JSON contains too many levels of nesting; maximum is 8'],
    [`{"state":{"desired":{"a":${'['.repeat(3_000)}${']'.repeat(3_000)}}}}`, 400, 'JSON contains too many levels'],
    ['{"state":{},"version":4}', 409, 'Version conflict'],
    [`{"state":{"desired":{"a":"${'x'.repeat(8_192)}"}}}`, 413, 'The payload exceeds the maximum size allowed'],
    [' '.repeat(20_000), 413, 'The payload exceeds the maximum size allowed'],
    [Buffer.from([0xff, 0xfe]), 415, 'Unsupported documented encoding; supported encoding is UTF-8'],
  ]
  for (const [what, code, message] of rows) {
    try {
      updated(undefined, 0, updateOf(readRequest(Buffer.from(what as string))), 1)
      t.fail(String(what).slice(0, 60))
    } catch (error) {
      t.ok(error instanceof ShadowFault, String(error))
      t.match(error, { code, message: new RegExp(`^${message.replace(/[;:]/g, '.')}`) }, String(what).slice(0, 60))
    }
  }
  t.ok(update(undefined, { state: { desired: nested(8) } }), 'eight levels')
  t.same(({} as { polluted?: unknown }).polluted, undefined)
  update(undefined, JSON.parse('{"state":{"desired":{"__proto__":{"polluted":1}}}}'))
  t.same(({} as { polluted?: unknown }).polluted, undefined)
})
