import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { alertEnglish } from '../../src/alerts/sentences.js'
import { reasons } from '../../src/commands/reasons.js'

type Texts = Readonly<Record<string, string>>
const { en } = (await import(new URL('../../src/dashboard/said/en.js', import.meta.url).href)) as { readonly en: Texts }
const sources = fileURLToPath(new URL('../../../src', import.meta.url))

/** Codes of what the hub refuses, as they stand in the sources. */
function refusalCodes(): readonly string[] {
  const files = (readdirSync(sources, { recursive: true }) as string[]).filter(
    name => name.endsWith('.ts') && !/^(dashboard|contract)\//.test(name),
  )
  const found = files.flatMap(name => {
    const text = readFileSync(`${sources}/${name}`, 'utf8')
    const given = [
      ...text.matchAll(/said(?:: | = )\{ code: '([\w-]+)'/g),
      ...text.matchAll(/return refused\('([\w-]+)', /g),
    ]
    return given.map(([, code = '']) => code)
  })
  return [...new Set(found)]
}

t.test('the dashboard says the sentences of alerts in English as the hub does', async t => {
  for (const [code, text] of Object.entries(alertEnglish)) t.equal(en[code], text, code)
})

t.test('each code that the hub sends has words', async t => {
  const codes = refusalCodes()
  t.ok(codes.length > 25, `${codes.length} codes`)
  for (const code of codes) t.ok(en[`refused.${code}`] ?? en[`said.${code}`] ?? en[code], code)
  for (const code of Object.keys(reasons)) t.ok(en[`said.${code}`], code)
})
