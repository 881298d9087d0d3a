import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import { eventually } from '../harness.js'

/* Pages by the rules of axe-core (WCAG 2.2 A and AA, and best practice). */

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Rules that look at colours. All others look at elements, their sizes and their names, which are the same in the dark. */
const colourRules = ['color-contrast', 'link-in-text-block']

/** Returns the violations on a page as it is shown, each with the first elements that it is about. */
export async function violations(page: Page): Promise<readonly string[]> {
  return check(page, {})
}

/** The same for a page that is shown light, and for its colours in the dark. */
export async function violationsLightAndDark(page: Page): Promise<readonly string[]> {
  const light = await check(page, {})
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.evaluate(settled)
  const dark = await check(page, { runOnly: colourRules })
  await page.emulateMedia({ colorScheme: 'light' })
  await page.evaluate(settled)
  return [...light, ...dark.map(one => `dark: ${one}`)]
}

/** Resolves when the colours have changed: those of transitions do so over several frames. */
const settled = `new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))).then(() =>
  Promise.all(document.getAnimations().filter(one => one instanceof CSSTransition).map(one => one.finished.catch(() => {}))))`

/** What waits for the hub is dimmed meanwhile, below the contrast that axe asks for, and a busy hub takes its time. */
const isComplete = `![...document.querySelectorAll('#connection:not([data-state="live"]), #detail[data-loading], ' +
  '#balance[data-stale="true"]')].some(element => element.checkVisibility())`

async function check(page: Page, options: { readonly runOnly?: readonly string[] }): Promise<readonly string[]> {
  await eventually(() => page.evaluate<boolean>(isComplete), 'nothing on the page waits for the hub')
  // The document of an address keeps it until it is left.
  if (!(await page.evaluate<boolean>('"axe" in window'))) await page.evaluate(axe)
  // Everything else that it tells about a page is much, and nobody reads it.
  const run = `axe.run(document, ${JSON.stringify({ ...options, resultTypes: ['violations'] })})`
  const short = `({ violations }) => violations.map(({ id, nodes }) =>
    id + ': ' + nodes.slice(0, 3).map(({ html }) => html.slice(0, 200)))`
  return page.evaluate<string[]>(`${run}.then(${short})`)
}

/** Sizes in which every page is looked at. */
export const sizes = [
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
]
