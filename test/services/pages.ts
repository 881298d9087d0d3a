import { type Browser, chromium, type Page } from 'playwright-core'
import t from 'tap'
import { chromiumPath } from './chromium.js'

export interface PageOptions {
  readonly width?: number
  readonly height?: number
  readonly dark?: boolean
  /** Whether a certificate that no authority of the browser has signed will do. */
  readonly anyCertificate?: boolean
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
  const { width = 1280, height = 800, dark = false, anyCertificate = false } = options
  const browser = await theBrowser()
  const colorScheme = dark ? 'dark' : 'light'
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme,
    ignoreHTTPSErrors: anyCertificate,
  })
  try {
    const page = await context.newPage()
    await page.goto(url)
    return { page, close: () => context.close() }
  } catch (error) {
    await context.close()
    throw error
  }
}
