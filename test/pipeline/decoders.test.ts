import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { decode } from '../../src/pipeline/decoders/decoders.js'

// A case is a folder: input.txt (or input.hex for bytes), and expected.json (the samples) or expected.err (the reason).
// Adding one adds no code.
const folder = fileURLToPath(new URL('../../../test/fixtures/decoders', import.meta.url))

const options = () => ({
  rules: { absent: new Set(['', 'nan', 'unknown', 'none']) },
  memory: {},
  receivedAt: 1_700_000_000_000_000,
  json: { depth: 16, fields: 1_000, inflated: 1_000_000 },
})

function thrownBy(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    return error
  }
}

for (const name of readdirSync(folder)) {
  t.test(name, async t => {
    const hex = join(folder, name, 'input.hex')
    const input = existsSync(hex)
      ? Buffer.from(readFileSync(hex, 'utf8').replace(/\s/g, ''), 'hex')
      : readFileSync(join(folder, name, 'input.txt'))
    const run = () => decode(input, options())
    const refused = join(folder, name, 'expected.err')
    if (existsSync(refused)) t.match(thrownBy(run), { reason: readFileSync(refused, 'utf8').trim() })
    else t.strictSame(run(), JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')))
  })
}

t.test('a named decoder is not second-guessed', async t => {
  t.same(decode(Buffer.from('{"a":1}'), { ...options(), decoder: 'value' }), [{ fields: [['value', '{"a":1}']] }])
  t.match(
    thrownBy(() => decode(Buffer.from('23.5x'), { ...options(), decoder: 'json' })),
    { reason: 'bad_json' },
  )
})
