import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { program } from './service.js'

/** Makes sure that `openPage` (pages.ts) finds a browser, installing one if need be. */
export async function ensureChromium(): Promise<void> {
  await chromiumPath()
}

/** The one TEST_CHROMIUM names, else a Chromium or Chrome on PATH, else Debian's, installed when we are root. */
export async function chromiumPath(): Promise<string> {
  const given = process.env.TEST_CHROMIUM
  if (given) {
    if (existsSync(given)) return given
    throw new Error(`TEST_CHROMIUM names ${given}, which is not there`)
  }
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
  const found = names.flatMap(name => folders.map(folder => join(folder, name))).find(path => existsSync(path))
  return found ?? program('chromium', 'chromium')
}
