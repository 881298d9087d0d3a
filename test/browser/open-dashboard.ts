import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { openPage, type PageOptions } from '../services/pages.js'

export interface Dashboard {
  readonly page: Page
  /** Errors and warnings the page wrote, exceptions it did not catch, and requests that left the hub's origin. */
  readonly problems: readonly string[]
}

/**
 * A dashboard of its own, gone when the test ends; watched from before its first request. An address without a path is
 * that of the wall of all values. `hub`: the origin, if not of `url`.
 */
export async function openDashboard(t: Test, url: string, options?: PageOptions, hub = url): Promise<Dashboard> {
  const { page, close } = await openPage('about:blank', options)
  t.teardown(close)
  const problems: string[] = []
  const { host } = new URL(hub)
  const leaves = (address: string) => !/^(data|about):/.test(address) && new URL(address).host !== host
  page.on('console', message => {
    if (['error', 'warning', 'assert'].includes(message.type())) problems.push(`${message.type()}: ${message.text()}`)
  })
  page.on('pageerror', error => problems.push(`not caught: ${error.message}`))
  page.on('request', request => leaves(request.url()) && problems.push(`left the origin: ${request.url()}`))
  page.on('websocket', socket => leaves(socket.url()) && problems.push(`left the origin: ${socket.url()}`))
  await page.goto(/^http:\/\/[^/]+$/.test(url) ? `${url}/#values` : url)
  return { page, problems }
}
