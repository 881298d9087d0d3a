import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CDPSession, chromium } from 'playwright-core'
import { chromiumPath } from '../services/chromium.js'
import { Connection } from './connection.js'
import { each, pace } from './pace.js'
import { hubLimits, startHub } from './targets.js'
import { publishPacket } from './wire.js'

/*
 * npm run bench -- screen [--seconds 10]: Home, and the wall of all values, in headless Chromium with many devices: when the first card is
 * painted, frames per second under load and the share of script in that, a filter until it is painted, memory of the tab,
 * and bytes of the first visit. Chromium draws without a graphics processor here, and shares the machine with the hub:
 * frame times are upper bounds.
 */

interface Size {
  readonly devices: number
  readonly values: number
  /** Values published per second. */
  readonly updates: number
}

const sizes: readonly Size[] = [
  { devices: 200, values: 10, updates: 2_000 },
  { devices: 2_000, values: 1, updates: 2_000 },
  { devices: 10_000, values: 1, updates: 500 },
]

const targets = { frames: 60, scriptPercent: 25, firstMs: 1_000, filterMs: 100, tabMb: 150, bytes: 150_000 }

export async function screen(seconds: number): Promise<void> {
  for (const size of sizes) await measure(size, seconds, 'Home')
  for (const size of sizes) await measure(size, seconds, 'All values')
}

type Place = 'Home' | 'All values'

async function measure({ devices, values, updates }: Size, seconds: number, place: Place): Promise<void> {
  const hub = await startHub([...hubLimits])
  const source = new Connection({ port: hub.port, clientId: 'source', onPacket: () => {}, onFailure: () => {} })
  await source.ready
  const packet = (n: number) => {
    const device = n % devices
    const fields = Array.from({ length: values }, (_, i) => `"v${i}":${(20 + ((n + i) % 100) / 10).toFixed(1)}`)
    const topic = `home/room-${device % 20}/device-${device}/telemetry`
    return publishPacket(topic, Buffer.from(`{${fields.join(',')}}`), 0)
  }
  for (let n = 0; n < devices; n += 500) {
    source.write(Buffer.concat(each(n, Math.min(n + 500, devices), packet)))
    await sleep(20)
  }
  const url = `http://127.0.0.1:${hub.webSocketPort}`
  while ((await devicesOf(url)) < devices) await sleep(500)

  const browser = await chromium.launch({
    executablePath: await chromiumPath(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync'],
  })
  let timer: NodeJS.Timeout | undefined
  try {
    const page = await browser.newPage({ viewport: { width: 1_440, height: 900 } })
    const session = await page.context().newCDPSession(page)
    let bytes = 0
    session.on('Network.loadingFinished', ({ encodedDataLength }) => {
      bytes += encodedDataLength
    })
    await session.send('Network.enable')
    await session.send('Performance.enable')
    const begin = performance.now()
    await page.goto(place === 'Home' ? url : `${url}/#values`)
    await page
      .locator(place === 'Home' ? '.thing' : '.tile')
      .first()
      .waitFor()
    await painted(page)
    const first = performance.now() - begin
    const code = bytes
    if (place === 'Home') await page.locator('.home-count', { hasText: devices.toLocaleString('en') }).waitFor()
    else await page.waitForFunction(`${countTiles} >= ${devices * values}`)
    const all = performance.now() - begin

    timer = pace(updates / values, (from, to) => source.write(Buffer.concat(each(from, to, packet))))
    await sleep(2_000)
    const before = await scriptSeconds(session)
    const [frames, spent] = (await page.evaluate(`new Promise(resolve => {
      const begin = performance.now()
      let frames = 0
      const next = now => (now - begin < ${seconds * 1_000} ? (frames++, requestAnimationFrame(next)) : resolve([frames, now - begin]))
      requestAnimationFrame(next)
    })`)) as [number, number]
    const script = ((await scriptSeconds(session)) - before) / (spent / 1_000)

    await page.locator('#search').focus()
    const filter = (await page.evaluate(`new Promise(resolve => {
      const search = document.getElementById('search')
      const begin = performance.now()
      search.value = 'device-77'
      search.dispatchEvent(new Event('input', { bubbles: true }))
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin)))
    })`)) as number
    const tab = await tabBytes(await browser.newBrowserCDPSession())
    const said = [
      `first card ${told(first, targets.firstMs, 'ms')}`,
      `all known ${Math.round(all)} ms`,
      `${Math.round((frames * 1_000) / spent)} frames/s (${targets.frames})`,
      `script ${told(script * 100, targets.scriptPercent, '%')}`,
      `filter ${told(filter, targets.filterMs, 'ms')}`,
      `tab ${told(tab / 1e6, targets.tabMb, 'MB')}`,
      `first visit ${told(code, targets.bytes, 'bytes')}`,
    ]
    console.log(`${place}, ${devices} devices of ${values} values, ${updates} updates/s: ${said.join(' · ')}`)
  } finally {
    clearInterval(timer)
    await browser.close()
    source.socket.destroy()
    await hub.stop()
  }
}

/** Counts the tiles of all groups, of which most are not on the page. */
const countTiles = `[...document.querySelectorAll('.group-count')].reduce((sum, one) => sum + Number(one.textContent), 0)`

function told(value: number, target: number, unit: string): string {
  return `${Math.round(value)} ${unit} (at most ${target}: ${value <= target ? 'reached' : 'missed'})`
}

async function devicesOf(url: string): Promise<number> {
  const { count } = (await (await fetch(`${url}/api/home?limit=1`)).json()) as { readonly count: number }
  return count
}

/** Resolves when what is in the document now has been painted. */
function painted(page: { evaluate(source: string): Promise<unknown> }): Promise<unknown> {
  return page.evaluate('new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))')
}

async function scriptSeconds(session: CDPSession): Promise<number> {
  const { metrics } = await session.send('Performance.getMetrics')
  return metrics.find(({ name }) => name === 'ScriptDuration')?.value ?? 0
}

/** Returns the resident memory of the process that draws the page, which has nothing else to draw. */
async function tabBytes(session: CDPSession): Promise<number> {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  const sizes = processInfo
    .filter(({ type }) => type === 'renderer')
    .map(({ id }) => Number(readFileSync(`/proc/${id}/statm`, 'utf8').split(' ')[1]) * 4_096)
  return Math.max(...sizes)
}
