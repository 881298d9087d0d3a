import t from 'tap'
import { de } from '../../src/dashboard/texts/de.js'
import { en } from '../../src/dashboard/texts/en.js'
import { zh } from '../../src/dashboard/texts/zh.js'

/** What is tested of a module that is compiled for browsers. */
interface Module {
  fill(text: string, filling: object): string
  languageOf(wanted: readonly string[]): string
}

const module = new URL('../../src/dashboard/texts/language.js', import.meta.url).href
const { fill, languageOf } = (await import(module)) as Module

const languages: Readonly<Record<string, Readonly<Record<string, string>>>> = { en, de, zh }
const namesIn = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort()

t.test('each language has all texts, and fills in the same', async t => {
  for (const [name, texts] of Object.entries(languages)) {
    t.same(Object.keys(texts).sort(), Object.keys(en).sort(), name)
    for (const [key, text] of Object.entries(texts)) {
      t.not(text.trim(), '', `${name} ${key}`)
      t.same(namesIn(text), namesIn(en[key as keyof typeof en]), `${name} ${key}`)
    }
  }
})

t.test('a counted text has a form for one and one for others', async t => {
  for (const key of Object.keys(en)) {
    if (key.endsWith('.one')) t.ok(Object.hasOwn(en, key.replace(/one$/, 'other')), key)
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
