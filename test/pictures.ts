import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import mqtt from 'mqtt'
import { type Browser, chromium, type Page } from 'playwright-core'
import { chromiumPath } from './services/chromium.js'

/*
 * npm run pictures: makes the pictures of README anew, in docs/, from a hub with a simulated home that has a week of
 * history, and one with a simulated plant.
 */

const root = fileURLToPath(new URL('../..', import.meta.url))
const day = 86_400_000
const coldRoom = { topic: 'home/Cellar/cold-room/telemetry', field: 'temperature' }

interface Hub {
  readonly http: string
  readonly mqtt: string
  stop(): Promise<void>
}

/** Starts a hub with devices on free ports. Stopped, the hub leaves nothing behind. */
async function startHome(home: 'real' | 'plant'): Promise<Hub> {
  const dir = mkdtempSync(join(tmpdir(), 'telehub-pictures-'))
  const cli = join(root, 'dist/bundle/cli.js')
  const hub = spawn(process.execPath, [cli, 'start', '--mqtt.port', '0', '--http.port', '0', '--data.dir', dir], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let text = ''
  for await (const piece of hub.stdout) {
    text += piece
    if (/^telehub ready .*\n/m.test(text)) break
  }
  const http = /http:\/\/\S+/.exec(text)?.[0] ?? ''
  const broker = /mqtt:\/\/\S+/.exec(text)?.[0] ?? ''
  const devices = spawn(process.execPath, [join(root, 'dist/devices/fleet.js'), '--url', broker, '--home', home], {
    stdio: 'ignore',
  })
  return {
    http,
    mqtt: broker,
    stop: async () => {
      devices.kill()
      hub.kill()
      await once(hub, 'exit')
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/**
 * Publishes a week of readings of a cold room: a course by day, and a door that was left open twice. Goes on with new
 * readings. Resolves with what ends that.
 */
async function publishWeek(url: string): Promise<() => Promise<void>> {
  const client = await mqtt.connectAsync(url, { clientId: 'cold-room' })
  const send = (rows: unknown) => client.publishAsync(coldRoom.topic, JSON.stringify(rows), { qos: 1 })
  const now = Date.now()
  const reading = (time: number) => {
    const ago = (now - time) / day
    const isOpen = (ago > 1.7 && ago < 1.78) || (ago > 4.3 && ago < 4.36)
    const temperature = -18 + Math.sin((time / day) * 2 * Math.PI) * 0.6 + Math.sin(time / 2e6) * 0.3 + (isOpen ? 7 : 0)
    const humidity = 48 + Math.cos((time / day) * 2 * Math.PI) * 6 + (isOpen ? 20 : 0)
    return { time, temperature: round(temperature), humidity: round(humidity) }
  }
  const rows = Array.from({ length: 7 * 144 }, (_, i) => reading(now - 7 * day + i * 600_000))
  for (let i = 0; i < rows.length; i += 200) await send(rows.slice(i, i + 200))
  const timer = setInterval(() => void send(reading(Date.now())), 5_000)
  return async () => {
    clearInterval(timer)
    await client.endAsync()
  }
}

/** Makes a rule, so that the page has something to say of the oven that is too hot. */
async function addRule({ http }: Hub): Promise<void> {
  const rule = { field: 'temperature', above: 100, severity: 'critical' }
  const answer = await fetch(`${http}/api/alerts/rules`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'too-hot', rule }),
  })
  if (!answer.ok) throw new Error(await answer.text())
}

const round = (value: number) => Math.round(value * 10) / 10

interface Picture {
  readonly name: string
  readonly address: string
  readonly width?: number
  readonly height?: number
  readonly dark?: boolean
  /** Something that is there when the page is complete. */
  readonly awaits: string
  readonly prepare?: (page: Page) => Promise<unknown>
}

const ofHome: readonly Picture[] = [
  { name: 'dashboard', address: '/', awaits: '.thing' },
  {
    name: 'chart',
    address: `/#${new URLSearchParams([
      ['series', 'telemetry,device=cold-room,room=Cellar temperature'],
      ['with', 'telemetry,device=cold-room,room=Cellar humidity'],
      ['range', '7d'],
    ])}`,
    awaits: '#chart-dock canvas',
  },
  {
    name: 'alerts',
    address: `/#${new URLSearchParams({ alerts: '', new: '', ...coldRoom })}`,
    awaits: '#alerts canvas',
  },
]
const ofPlant: readonly Picture[] = [
  {
    name: 'plant',
    address: '/',
    dark: true,
    awaits: '.thing',
    prepare: page => page.evaluate("localStorage.setItem('telehub.home.density', 'heat')").then(() => page.reload()),
  },
]

async function take(browser: Browser, hub: Hub, picture: Picture): Promise<void> {
  const { name, address, width = 1_280, height = 800, dark = false, awaits, prepare } = picture
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? 'dark' : 'light',
    locale: 'en-GB',
  })
  try {
    const page = await context.newPage()
    await page.goto(hub.http + address)
    await prepare?.(page)
    await page.locator(awaits).first().waitFor()
    await sleep(3_000)
    const path = join(root, 'docs', `${name}.png`)
    await page.screenshot({ path })
    console.log(path)
  } finally {
    await context.close()
  }
}

const browser = await chromium.launch({
  executablePath: await chromiumPath(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync'],
})
try {
  for (const [home, pictures] of [
    ['real', ofHome],
    ['plant', ofPlant],
  ] as const) {
    const hub = await startHome(home)
    const end = home === 'real' ? await publishWeek(hub.mqtt) : undefined
    try {
      if (home === 'plant') await addRule(hub)
      await sleep(25_000)
      for (const picture of pictures) await take(browser, hub, picture)
    } finally {
      await end?.()
      await hub.stop()
    }
  }
} finally {
  await browser.close()
}
