import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Browser, type CDPSession, chromium, type Page } from 'playwright-core'
import { chromiumPath } from '../services/chromium.js'
import { Connection } from './connection.js'
import { each, pace } from './pace.js'
import { median, readResults, resultsFile, rounded, type ScreenRow } from './results.js'
import { hubLimits, machine, processorSeconds, startHub, type Target, version } from './targets.js'
import { publishPacket } from './wire.js'

/*
 * npm run bench -- screen [--seconds 10]: Home, and the wall of all values, in headless Chromium with many devices: when the first card is
 * painted, frames per second under load and the share of script in that, a filter until it is painted, memory of the tab,
 * and bytes of the first visit. Chromium draws without a graphics processor here, and shares the machine with the hub:
 * frame times are upper bounds. So a floor is measured beside: a page of two lines, which moves one square, in a browser of its own
 * with the same hub under the same load.
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

const places = ['Home', 'All values'] as const
type Place = (typeof places)[number]

/** First visits of a row, each of a browser that knows nothing of the hub. */
const firstVisits = 3

export async function screen(seconds: number): Promise<void> {
  const date = new Date().toISOString()
  const rows: ScreenRow[] = []
  for (const size of sizes) rows.push(...(await measure(size, seconds)))
  const results = { ...readResults(), screen: { date, machine: machine(), telehub: version(), seconds, targets, rows } }
  writeFileSync(resultsFile, `${JSON.stringify(results, undefined, 2)}\n`)
  process.stderr.write('written to test/bench/results.json; npm run readme takes it over\n')
}

/** A hub with devices, and what publishes their values. */
interface Plant {
  readonly hub: Target
  readonly url: string
  /** Publishes from now on, until what is returned is called. */
  load(): () => void
}

async function measure(size: Size, seconds: number): Promise<ScreenRow[]> {
  const { devices, values, updates } = size
  const hub = await startHub([...hubLimits])
  const source = new Connection({ port: hub.port, clientId: 'source', onPacket: () => {}, onFailure: () => {} })
  try {
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
    const load = () => {
      const timer = pace(updates / values, (from, to) => source.write(Buffer.concat(each(from, to, packet))))
      return () => clearInterval(timer)
    }
    const plant = { hub, url, load }
    console.log(`${devices} devices of ${values} values, ${updates} updates/s`)
    const least = await inBrowser(browser => floor(browser, plant, seconds))
    console.log(
      `  floor: ${least.frames} frames/s · ${least.shares.join(' · ')} · tab ${Math.round(least.tabBytes / 1e6)} MB`,
    )
    const rows: ScreenRow[] = []
    for (const place of places) {
      const row = await inBrowser(browser => visit(browser, plant, size, place, seconds))
      rows.push({ ...row, floorFrames: least.frames, floorTabMb: rounded(least.tabBytes / 1e6) })
    }
    return rows
  } finally {
    source.socket.destroy()
    await hub.stop()
  }
}

async function inBrowser<Found>(act: (browser: Browser) => Promise<Found>): Promise<Found> {
  const browser = await chromium.launch({
    executablePath: await chromiumPath(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync'],
  })
  try {
    return await act(browser)
  } finally {
    await browser.close()
  }
}

const screenSize = { viewport: { width: 1_440, height: 900 } }

/** What Chromium takes for a page of nothing, while the hub is as busy as with the real one. */
async function floor(browser: Browser, { hub, load }: Plant, seconds: number): Promise<Run> {
  const page = await browser.newPage(screenSize)
  await page.setContent(
    '<!doctype html><div id="square" style="position:absolute;width:9px;height:9px;background:red">',
  )
  await page.evaluate(`{
    const move = now => {
      square.style.left = Math.round(now / 5) % 400 + 'px'
      requestAnimationFrame(move)
    }
    requestAnimationFrame(move)
  }`)
  const end = load()
  const run = await runOf(browser, page, hub, seconds)
  end()
  return run
}

async function visit(
  browser: Browser,
  { hub, url, load }: Plant,
  { devices, values, updates }: Size,
  place: Place,
  seconds: number,
): Promise<Omit<ScreenRow, 'floorFrames' | 'floorTabMb'>> {
  const address = place === 'Home' ? url : `${url}/#values`
  const seen = place === 'Home' ? '.thing' : '.tile'
  const firsts: number[] = []
  while (firsts.length < firstVisits - 1) {
    const context = await browser.newContext(screenSize)
    firsts.push(await firstOf(await context.newPage(), address, seen))
    await context.close()
  }
  const page = await browser.newPage(screenSize)
  const session = await page.context().newCDPSession(page)
  let bytes = 0
  session.on('Network.loadingFinished', ({ encodedDataLength }) => {
    bytes += encodedDataLength
  })
  await session.send('Network.enable')
  const begin = performance.now()
  firsts.push(await firstOf(page, address, seen))
  const first = median(firsts)
  const code = bytes
  if (place === 'Home') await page.locator('.home-count', { hasText: devices.toLocaleString('en') }).waitFor()
  else await page.waitForFunction(`${countTiles} >= ${devices * values}`)
  const all = performance.now() - begin

  const end = load()
  const run = await runOf(browser, page, hub, seconds)
  const drawn = await page.locator(seen).count()
  await page.locator('#search').focus()
  const filter = (await page.evaluate(`new Promise(resolve => {
    const search = document.getElementById('search')
    const begin = performance.now()
    search.value = 'device-77'
    search.dispatchEvent(new Event('input', { bubbles: true }))
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin)))
  })`)) as number
  end()
  const said = [
    `first card ${told(first, targets.firstMs, 'ms')}`,
    `all known ${Math.round(all)} ms`,
    `${run.frames} frames/s (${targets.frames}) with ${drawn} on the page`,
    `script ${told(run.scriptPercent, targets.scriptPercent, '%')}`,
    ...run.shares,
    `filter ${told(filter, targets.filterMs, 'ms')}`,
    `tab ${told(run.tabBytes / 1e6, targets.tabMb, 'MB')}`,
    `first visit ${told(code, targets.bytes, 'bytes')}`,
  ].join(' · ')
  console.log(`  ${place}: ${said}`)
  return {
    ...{ place, devices, values, updates, frames: run.frames, scriptPercent: run.scriptPercent },
    ...{ firstMs: rounded(first), filterMs: rounded(filter), tabMb: rounded(run.tabBytes / 1e6), bytes: code },
  }
}

/** Resolves with the milliseconds until the first card is painted. */
async function firstOf(page: Page, address: string, seen: string): Promise<number> {
  const begin = performance.now()
  await page.goto(address)
  await page.locator(seen).first().waitFor()
  await painted(page)
  return performance.now() - begin
}

interface Run {
  readonly frames: number
  readonly scriptPercent: number
  /** Where the time went: of the page's thread, and of the processes in parts of one core. */
  readonly shares: readonly string[]
  readonly tabBytes: number
}

/** Counts frames for a time, beginning a little later. */
async function runOf(browser: Browser, page: Page, hub: Target, seconds: number): Promise<Run> {
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.enable')
  const whole = await browser.newBrowserCDPSession()
  await sleep(2_000)
  const measured = async () => {
    const { metrics } = await session.send('Performance.getMetrics')
    const of = (name: string) => metrics.find(metric => metric.name === name)?.value ?? 0
    const { processInfo } = await whole.send('SystemInfo.getProcessInfo')
    const spent = (type: string) =>
      processInfo.filter(one => one.type === type).reduce((sum, { cpuTime }) => sum + cpuTime, 0)
    return {
      script: of('ScriptDuration'),
      style: of('RecalcStyleDuration'),
      layout: of('LayoutDuration'),
      'all tasks': of('TaskDuration'),
      tab: spent('renderer'),
      compositor: spent('GPU'),
      hub: processorSeconds(hub.pid),
    }
  }
  const before = await measured()
  const [frames, ms] = (await page.evaluate(`new Promise(resolve => {
    const begin = performance.now()
    let frames = 0
    const next = now => (now - begin < ${seconds * 1_000} ? (frames++, requestAnimationFrame(next)) : resolve([frames, now - begin]))
    requestAnimationFrame(next)
  })`)) as [number, number]
  const after = await measured()
  const percent = (name: keyof typeof before) => Math.round(((after[name] - before[name]) / (ms / 1_000)) * 100)
  const list = (names: readonly (keyof typeof before)[]) => names.map(name => `${name} ${percent(name)}`).join(', ')
  return {
    frames: Math.round((frames * 1_000) / ms),
    scriptPercent: percent('script'),
    shares: [
      `page's thread: ${list(['script', 'style', 'layout', 'all tasks'])} %`,
      `processes: ${list(['tab', 'compositor', 'hub'])} %`,
    ],
    tabBytes: await tabBytes(whole),
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
function painted(page: Page): Promise<unknown> {
  return page.evaluate('new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))')
}

/** Returns the resident memory of the process that draws the page, which has nothing else to draw. */
async function tabBytes(session: CDPSession): Promise<number> {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  const sizes = processInfo
    .filter(({ type }) => type === 'renderer')
    .map(({ id }) => Number(readFileSync(`/proc/${id}/statm`, 'utf8').split(' ')[1]) * 4_096)
  return Math.max(...sizes)
}
