/** The texts of the inbox. */

import { vocabulary } from '../texts/language.js'

export const { say, sayCount } = await vocabulary({
  en: () => import('./en.js').then(({ en }) => en),
  de: () => import('./de.js').then(({ de }) => de),
  zh: () => import('./zh.js').then(({ zh }) => zh),
})
