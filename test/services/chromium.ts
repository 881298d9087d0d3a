import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import t from 'tap'
import { program } from './service.js'

export interface PageOptions {
  readonly width?: number
  readonly height?: number
  readonly dark?: boolean
}

/** Makes sure that {@link openPage} finds a browser, installing one if need be. */
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

let started: Promise<Browser> | undefined

/** The browser of this test file, started for its first page and closed after its last test. */
function theBrowser(): Promise<Browser> {
  started ??= launch()
  return started
}

async function launch(): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: await chromiumPath(),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
  t.teardown(() => browser.close())
  return browser
}

/** A page with a new profile, which shares nothing with other pages; 1280 × 800 and light unless told otherwise. */
export async function openPage(
  url: string,
  options: PageOptions = {},
): Promise<{ page: Page; close(): Promise<void> }> {
  const { width = 1280, height = 800, dark = false } = options
  const browser = await theBrowser()
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light' })
  try {
    const page = await context.newPage()
    await page.goto(url)
    return { page, close: () => context.close() }
  } catch (error) {
    await context.close()
    throw error
  }
}
