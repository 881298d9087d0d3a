import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { hashPassword } from '../../src/passwords/passwords.js'
import { eventually, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { type Dashboard, openDashboard } from './open-dashboard.js'

export const isLive = async (page: Page) => (await page.locator('#connection').getAttribute('data-state')) === 'live'
export const textOf = async (page: Page, selector: string) => (await page.locator(selector).textContent()) ?? ''
export const pathOf = (page: Page) => new URL(page.url()).pathname
/** A browser says every answer that is an error. */
export const others = (problems: readonly string[]) =>
  problems.filter(problem => !/Failed to load resource/.test(problem))

export const password = 'correct horse battery'
const hash = await hashPassword(password)

export const user = (name: string, kind: string, ...rules: readonly string[]) => [
  `  ${name}:`,
  `    kind: ${kind}`,
  `    password: ${hash}`,
  '    rules:',
  ...rules.map(rule => `      - '${rule}'`),
]
const reading = ['allow read #', 'allow read $hub/#', 'allow read $SYS/#']
export const anna = user('anna', 'admin', ...reading, 'allow publish #')
export const bert = user('bert', 'dashboard', ...reading)
export const thermo = user('thermo', 'device', 'allow all home/thermo/#')

export interface Guarded extends RunningHub {
  /** Writes the users file anew; it acts at once. */
  write(...users: readonly (readonly string[])[]): Promise<void>
}

/** A hub that asks everybody. */
export async function startGuarded(t: Test, settings: Readonly<Record<string, string>> = {}): Promise<Guarded> {
  const dir = await tempDir()
  const file = join(dir, 'users.yaml')
  const write: Guarded['write'] = (...users) =>
    writeFile(file, `${['everyone:', '  - deny publish admin/#', 'users:', ...users.flat()].join('\n')}\n`, {
      mode: 0o600,
    })
  await write(anna, bert, thermo)
  return { ...(await startHub(t, { ...settings, 'auth.file': file }, dir)), write }
}

export async function signIn(page: Page, name: string, secret = password): Promise<void> {
  await page.locator('#user').fill(name)
  await page.locator('#password').fill(secret)
  await page.locator('#password').press('Enter')
}

export async function openSignedIn(t: Test, hub: RunningHub, name: string, path = '/#values'): Promise<Dashboard> {
  const opened = await openDashboard(t, hub.httpUrl + path)
  await signIn(opened.page, name)
  await eventually(() => isLive(opened.page), 'live')
  return opened
}
