/** The browser's own copy of the last state, for the time when the hub cannot be reached. */

/** Name of the cache; the service worker knows the name, too. */
export const offlineCache = 'telehub-offline'
/** Address under which the last state is kept there. */
export const stateAddress = '/offline-state'

/** A value as shown. */
interface KeptValue {
  readonly name: string
  readonly text: string
  /** Milliseconds of this computer's clock at which the value was measured. */
  readonly time: number
}

/** The last state of Home, in the words of the language of the page. */
export interface KeptState {
  readonly language: string
  /** When this was the state, in milliseconds of this computer's clock. */
  readonly at: number
  readonly words: Readonly<Record<'title' | 'values' | 'again' | 'waiting', string>>
  readonly areas: readonly {
    readonly name: string
    readonly devices: readonly { readonly name: string; readonly values: readonly KeptValue[] }[]
  }[]
}

let isForgotten = false

/** Whether a state may be kept: not once this page is about to end for the user, as leaving a page is a time to keep, too. */
export function mayKeep(): boolean {
  return !isForgotten
}

/** Deletes the last state, and has this page keep none: another user may be next. Resolves also when there is none. */
export async function forgetState(): Promise<void> {
  isForgotten = true
  // Without TLS, and with storage off, there are no caches.
  if (!('caches' in globalThis)) return
  const cache = await caches.open(offlineCache).catch(() => undefined)
  await cache?.delete(stateAddress).catch(() => false)
}
