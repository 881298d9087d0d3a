import type { SettingKind } from './kinds.js'

/** One outlet of the settings: `name`, `kind`, `topics` and what the kind needs, unchecked. */
export type OutletSetting = Readonly<Record<string, unknown>>

/** One inlet of the settings, unchecked. */
export type InletSetting = OutletSetting

/** Maximum number of outlets: each reads the spool alone. */
const maxOutlets = 20

/** A list of maps, or the JSON of one. */
export const inletList: SettingKind<readonly InletSetting[]> = {
  allowed: `a list of at most ${maxOutlets} inlets, each with name, url and topics (docs/bridge.md)`,
  parse: given => outletList.parse(given),
}

/** A list of maps, or the JSON of one. Which members are allowed depends on the kind of each outlet. */
export const outletList: SettingKind<readonly OutletSetting[]> = {
  allowed: `a list of at most ${maxOutlets} outlets, each with name, kind and what the kind needs (docs/outlets.md)`,
  parse: given => {
    const list = typeof given === 'string' ? parsed(given) : given
    if (!Array.isArray(list) || list.length > maxOutlets) return undefined
    return list.every(one => typeof one === 'object' && one !== null && !Array.isArray(one)) ? list : undefined
  },
}

function parsed(text: string): unknown {
  if (text.trim() === '') return []
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
