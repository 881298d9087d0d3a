import { vocabulary } from '../texts/language.js'

/** Texts of the page of a device. */
export const { say, sayCount, translate } = await vocabulary({
  en: async () => (await import('./en.js')).en,
  de: async () => (await import('./de.js')).de,
  zh: async () => (await import('./zh.js')).zh,
})
