/** The language and the locale of the page, and texts in that language. Decided once, when the page is loaded. */

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

export const language = chosen()
/** The locale of numbers and times: the variant of the browser if it speaks the same language, such as `en-GB`. */
export const locale =
  typeof document === 'undefined'
    ? 'en'
    : (navigator.languages.find(tag => tag.toLowerCase().split('-')[0] === language) ?? language)

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

type Stem<Key extends string> = Extract<Key, `${string}.other`> extends `${infer Found}.other` ? Found : never

/** The attributes that are translated, each by the element's attribute of data that names its text. */
const translated = { say: undefined, sayLabel: 'aria-label', sayTitle: 'title', sayPlaceholder: 'placeholder' } as const

/** The texts of one page, in the language of the browser. */
export class Vocabulary<Key extends string> {
  readonly #texts: Readonly<Record<string, string>>

  constructor(texts: Readonly<Record<Key, string>>) {
    this.#texts = texts
  }

  #has(key: string): key is Key {
    return Object.hasOwn(this.#texts, key)
  }

  /** Returns the text of a key. */
  readonly say = (key: Key, filling: Filling = {}): string => fill(this.#texts[key] ?? '', filling)

  /** Returns the text for a count, of the keys `{stem}.one` and `{stem}.other`; `{count}` has separated thousands. */
  readonly sayCount = (stem: Stem<Key>, count: number, filling: Filling = {}): string => {
    const form = plural.select(count) === 'one' ? 'one' : 'other'
    return fill(this.#texts[`${stem}.${form}`] ?? '', { ...filling, count: counts.format(count) })
  }

  /**
   * Puts texts into the elements with `data-say`, and into the label, title and placeholder of those with
   * `data-say-label`, `data-say-title` and `data-say-placeholder`. Keys of other vocabularies are left alone.
   */
  readonly translate = (root: ParentNode): void => {
    for (const [data, attribute] of Object.entries(translated)) {
      const name = `data-${data.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`
      for (const element of root.querySelectorAll<HTMLElement>(`[${name}]`)) {
        const key = element.dataset[data] ?? ''
        if (!this.#has(key)) continue
        if (attribute) element.setAttribute(attribute, this.say(key))
        else element.textContent = this.say(key)
      }
    }
  }
}

/**
 * Resolves with the texts of a page, of which only the language needed is loaded. English has all keys.
 *
 * @param load For each language, a function that imports the texts.
 */
export async function vocabulary<Key extends string>(
  load: Readonly<Record<Language, () => Promise<Readonly<Record<Key, string>>>>>,
): Promise<Vocabulary<Key>> {
  return new Vocabulary(await load[language]().catch(() => load.en()))
}
