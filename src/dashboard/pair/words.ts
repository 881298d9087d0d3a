import { language, Vocabulary } from '../texts/locale.js'
import { de } from './de.js'
import { en } from './en.js'
import { zh } from './zh.js'

/** Texts of the pairing page: few, so all languages are there at once. */
export const { say, translate } = new Vocabulary<keyof typeof en>({ en, de, zh }[language])
