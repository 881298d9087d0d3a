/** The language of the page: texts, numbers and times. Everything is decided once, when the page is loaded. */

import { en, type TextKey, type Texts } from './en.js'

/** The languages there are, each in its own words. */
export const languages = { en: 'English', de: 'Deutsch', zh: '中文' } as const
export type Language = keyof typeof languages

/** Name under which the browser keeps the chosen language. */
export const languageKey = 'telehub.language'

function isLanguage(name: string | null | undefined): name is Language {
  return name !== null && name !== undefined && Object.hasOwn(languages, name)
}

/** Returns the first of `wanted` that there is, such as `de` for `de-AT`; English without one. */
export function languageOf(wanted: readonly string[]): Language {
  return wanted.map(tag => tag.toLowerCase().split('-')[0]).find(isLanguage) ?? 'en'
}

function chosen(): Language {
  if (typeof document === 'undefined') return 'en'
  let kept: string | null = null
  try {
    kept = localStorage.getItem(languageKey)
  } catch {
    // Storage is off: the language of the browser counts.
  }
  return isLanguage(kept) ? kept : languageOf(navigator.languages)
}

async function load(name: Language): Promise<Texts> {
  if (name === 'de') return (await import('./de.js')).de
  if (name === 'zh') return (await import('./zh.js')).zh
  return en
}

export const language = chosen()
/** The locale of numbers and times: the variant of the browser if it speaks the same language, such as `en-GB`. */
export const locale =
  typeof document === 'undefined'
    ? 'en'
    : (navigator.languages.find(tag => tag.toLowerCase().split('-')[0] === language) ?? language)

const texts: Texts = await load(language).catch(() => en)
const plural = new Intl.PluralRules(locale)
const counts = new Intl.NumberFormat(locale)

/** Values for the names in braces. */
export type Filling = Readonly<Record<string, string | number>>

/** Fills the names in braces. */
export function fill(text: string, filling: Filling): string {
  return text.replace(/\{(\w+)\}/g, (braces, name: string) =>
    Object.hasOwn(filling, name) ? String(filling[name]) : braces,
  )
}

/** Returns the text of a key. */
export function say(key: TextKey, filling: Filling = {}): string {
  return fill(texts[key], filling)
}

type Stem<Key extends string> = Extract<Key, `${string}.other`> extends `${infer Found}.other` ? Found : never

/** Returns the text for a count, which is `{count}` in it with separated thousands. */
export function sayCount(stem: Stem<TextKey>, count: number, filling: Filling = {}): string {
  return sayCountOf(texts, stem, count, filling)
}

function sayCountOf(from: Readonly<Record<string, string>>, stem: string, count: number, filling: Filling): string {
  const form = plural.select(count) === 'one' ? 'one' : 'other'
  return fill(from[`${stem}.${form}`] ?? '', { ...filling, count: counts.format(count) })
}

/** The texts of one page, in the language of the browser. */
export interface Vocabulary<Key extends string> {
  /** Returns the text of a key. */
  say(key: Key, filling?: Filling): string
  /** Returns the text for a count, of the keys `{stem}.one` and `{stem}.other`. */
  sayCount(stem: Stem<Key>, count: number, filling?: Filling): string
}

/**
 * Resolves with the texts of a page, of which only the language needed is loaded. English has all keys.
 *
 * @param load For each language, a function that imports the texts.
 */
export async function vocabulary<Key extends string>(
  load: Readonly<Record<Language, () => Promise<Readonly<Record<Key, string>>>>>,
): Promise<Vocabulary<Key>> {
  const own = await load[language]().catch(() => load.en())
  return {
    say: (key, filling = {}) => fill(own[key], filling),
    sayCount: (stem, count, filling = {}) => sayCountOf(own, stem, count, filling),
  }
}

/** Puts the texts of the language into elements with `data-say`, and into the attributes that `data-say-attr` lists. */
export function translate(root: ParentNode): void {
  for (const element of root.querySelectorAll<HTMLElement>('[data-say]')) {
    element.textContent = say(element.dataset.say as TextKey)
  }
  for (const element of root.querySelectorAll<HTMLElement>('[data-say-label]')) {
    element.setAttribute('aria-label', say(element.dataset.sayLabel as TextKey))
  }
}
