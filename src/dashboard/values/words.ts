import { vocabulary } from '../texts/language.js'
import { en, type WallKey } from './en.js'

/** The texts of the wall of all values. */
export const { say } = await vocabulary<WallKey>({
  en: async () => en,
  de: async () => (await import('./de.js')).de,
  zh: async () => (await import('./zh.js')).zh,
})
