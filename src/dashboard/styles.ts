import { make } from './nodes.js'

const sheets = new Map<string, Promise<void>>()

/** Loads a style sheet that is beside this file. Resolves when it counts, or could not be loaded. */
export function withStyle(name: string): Promise<void> {
  const before = sheets.get(name)
  if (before) return before
  const link = make('link')
  const loaded = new Promise<void>(resolve => {
    link.addEventListener('load', () => resolve())
    link.addEventListener('error', () => {
      link.remove()
      sheets.delete(name)
      resolve()
    })
  })
  sheets.set(name, loaded)
  link.rel = 'stylesheet'
  link.href = new URL(name, import.meta.url).href
  document.head.append(link)
  return loaded
}
