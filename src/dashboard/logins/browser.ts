/** Names of browsers. */

import { nameText } from '../wording.js'
import { say } from './words.js'

/** Patterns of browsers, of which the first match counts: most browsers also name those they descend from. */
const browsers: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/\b(Edg|EdgA|EdgiOS)\//, 'Edge'],
  [/\bOPR\//, 'Opera'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\b(Firefox|FxiOS)\//, 'Firefox'],
  [/(Chrome|CriOS)\//, 'Chrome'],
  [/\bVersion\/[\d.]+ .*Safari\//, 'Safari'],
]

const systems: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/\biPhone\b/, 'iPhone'],
  [/\biPad\b/, 'iPad'],
  [/\bAndroid\b/, 'Android'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bWindows\b/, 'Windows'],
  [/\bMac OS X\b/, 'macOS'],
  [/\bLinux\b/, 'Linux'],
]

const mostAgent = 60

/**
 * Returns a name for a User-Agent: `Firefox on Linux`; for a client that is no browser, the words of the User-Agent.
 */
export function browserText(agent: string): string {
  const named = (names: typeof browsers) => names.find(([pattern]) => pattern.test(agent))?.[1]
  const browser = named(browsers)
  if (browser === undefined) return agent === '' ? say('browser.unknown') : nameText(agent.slice(0, mostAgent))
  const system = named(systems)
  return system === undefined ? browser : say('browser.on', { browser, system })
}
