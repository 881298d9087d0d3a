/** Texts of the shell and of Home, in the language of the page. */

import { en } from './en.js'
import { vocabulary } from './locale.js'

export { language, languageKey, languages, locale, vocabulary } from './locale.js'

/** Texts of the shell. English is there from the start, as its keys are asked for. */
export const words = await vocabulary({
  en: () => Promise.resolve(en),
  de: async () => (await import('./de.js')).de,
  zh: async () => (await import('./zh.js')).zh,
})
/** `say` returns the text of a key, `sayCount` that for a count. */
export const { say, sayCount } = words
