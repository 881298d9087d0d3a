import type { ComponentType } from 'preact'
import type { Shell } from '../pages.js'
import type { SettingsKey } from './en.js'

/** Properties that each part of the page gets. */
export interface PartProperties {
  readonly shell: Shell
  /** Those of the address, such as `user`. */
  readonly parameters: URLSearchParams
  /** Text of the search field in the header. */
  readonly search: string
}

export type Part = ComponentType<PartProperties>

/** A part of the page, loaded when first shown. */
export interface PartEntry {
  /** Value of `part` in the address. */
  readonly name: string
  readonly title: SettingsKey
  readonly load: () => Promise<Part>
}

export const parts: readonly PartEntry[] = [
  { name: 'users', title: 'part.users', load: () => import('./users.js').then(({ Users }) => Users) },
  { name: 'explain', title: 'part.explain', load: () => import('./explain.js').then(({ Explain }) => Explain) },
  { name: 'pair', title: 'part.pair', load: () => import('./pair.js').then(({ Pair }) => Pair) },
  { name: 'keys', title: 'part.keys', load: () => import('./keys.js').then(({ Keys }) => Keys) },
  { name: 'mapping', title: 'part.mapping', load: () => import('./mapping.js').then(({ Mapping }) => Mapping) },
  { name: 'notify', title: 'part.notify', load: () => import('./notify.js').then(({ Notify }) => Notify) },
  { name: 'kept', title: 'part.kept', load: () => import('./kept.js').then(({ Kept }) => Kept) },
  { name: 'noise', title: 'part.noise', load: () => import('./noise.js').then(({ Noise }) => Noise) },
  {
    name: 'certificate',
    title: 'part.certificate',
    load: () => import('./certificate.js').then(({ Certificate }) => Certificate),
  },
  { name: 'audit', title: 'part.audit', load: () => import('./audit.js').then(({ Audit }) => Audit) },
  { name: 'all', title: 'part.all', load: () => import('./all.js').then(({ All }) => All) },
]
