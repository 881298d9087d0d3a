import { execFile, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { openPage } from '../services/pages.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** The web server of the examples, as users start it, on a free port. Resolves with its origin; gone when the test ends. */
export async function serveExamples(t: Test): Promise<string> {
  const child = spawn(process.execPath, ['examples/serve.mjs', '0'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill())
  for await (const chunk of child.stdout) {
    const found = /http:\/\/[\d.]+:\d+/.exec(String(chunk))
    if (found) return found[0]
  }
  throw new Error('examples/serve.mjs has ended')
}

/** Runs a program of the examples to its end. */
export async function runExample(file: string, args: readonly string[], env: Readonly<Record<string, string>>) {
  await promisify(execFile)(process.execPath, [`examples/${file}`, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
  })
}

/** Opens a page of the examples; `problems` are the errors that the page did not catch. */
export async function openExample(t: Test, url: string): Promise<{ readonly page: Page; readonly problems: string[] }> {
  const { page, close } = await openPage('about:blank', { width: 900, height: 700 })
  t.teardown(close)
  const problems: string[] = []
  page.on('pageerror', error => problems.push(error.message))
  await page.goto(url)
  return { page, problems }
}
