import { vocabulary } from '../texts/language.js'
import { type ChartKey, en } from './en.js'

/** The texts of charts. */
export const { say } = await vocabulary<ChartKey>({
  en: async () => en,
  de: async () => (await import('./de.js')).de,
  zh: async () => (await import('./zh.js')).zh,
})
