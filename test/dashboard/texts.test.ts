import { existsSync, readdirSync } from 'node:fs'
import t from 'tap'

/** What is tested of a module that is compiled for browsers. */
interface Module {
  fill(text: string, filling: object): string
  languageOf(wanted: readonly string[]): string
}

const module = new URL('../../src/dashboard/texts/locale.js', import.meta.url).href
const { fill, languageOf } = (await import(module)) as Module

type Texts = Readonly<Record<string, string>>
const root = new URL('../../src/dashboard/', import.meta.url)
const names = ['en', 'de', 'zh'] as const
const namesIn = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort()

/** The texts of the shell, and of each page that has its own, by folder. */
async function allTexts(): Promise<ReadonlyMap<string, Readonly<Record<(typeof names)[number], Texts>>>> {
  const folders = readdirSync(root, { withFileTypes: true }).filter(entry => entry.isDirectory())
  const withTexts = folders.map(({ name }) => name).filter(name => existsSync(new URL(`${name}/en.js`, root)))
  const read = async (folder: string, name: string) => (await import(new URL(`${folder}/${name}.js`, root).href))[name]
  const texts = withTexts.map(async folder => {
    const [en, de, zh] = await Promise.all(names.map(name => read(folder, name) as Promise<Texts>))
    return [folder, { en: en ?? {}, de: de ?? {}, zh: zh ?? {} }] as const
  })
  return new Map(await Promise.all(texts))
}

t.test('each language has all texts, and fills in the same', async t => {
  const all = await allTexts()
  t.ok(all.has('texts'))
  for (const [folder, texts] of all) {
    for (const name of names) {
      t.same(Object.keys(texts[name]).sort(), Object.keys(texts.en).sort(), `${folder}, ${name}`)
      for (const [key, text] of Object.entries(texts[name])) {
        t.not(text.trim(), '', `${folder}, ${name} ${key}`)
        t.same(namesIn(text), namesIn(texts.en[key] ?? ''), `${folder}, ${name} ${key}`)
      }
    }
  }
})

t.test('a counted text has a form for one and one for others', async t => {
  for (const [folder, { en }] of await allTexts()) {
    for (const key of Object.keys(en)) {
      if (key.endsWith('.one')) t.ok(Object.hasOwn(en, key.replace(/one$/, 'other')), `${folder} ${key}`)
    }
  }
})

t.test('the language is the first that there is, in any variant', async t => {
  t.equal(languageOf(['de-AT', 'en']), 'de')
  t.equal(languageOf(['fr', 'zh-Hans-CN', 'en']), 'zh')
  t.equal(languageOf(['fr']), 'en')
  t.equal(languageOf([]), 'en')
})

t.test('names in braces are filled in, others stay', async t => {
  t.equal(fill('{a} of {b}', { a: 1, b: '<b>' }), '1 of <b>')
  t.equal(fill('{toString}', {}), '{toString}')
})
