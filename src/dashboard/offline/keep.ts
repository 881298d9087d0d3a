import { hubNow } from '../api.js'
import { groupsOf, type HomeValue, keyOf } from '../home/catalogue.js'
import { nameOf, shownOf } from '../home/format.js'
import type { HomeModel } from '../home/model.js'
import { language, say } from '../texts/language.js'
import { nameText } from '../wording.js'
import { type KeptState, mayKeep, offlineCache, stateAddress } from './state.js'

const keepEvery = 30_000
/** Devices that are kept: as many as anybody would read. */
const mostDevices = 500

/**
 * Keeps the last state of Home in this browser, and the page that shows it, so that they are there when the hub is not.
 * Does nothing where the browser allows no service worker, which is so without TLS except on this computer.
 */
export async function keepOffline(home: HomeModel): Promise<void> {
  if (!isSecureContext || !('serviceWorker' in navigator) || !('caches' in globalThis)) return
  try {
    await navigator.serviceWorker.register('/service-worker.js', { scope: '/' })
    const cache = await caches.open(offlineCache)
    await keepPage(cache)
    const keep = () => void keepState(cache, home)
    keep()
    setInterval(() => document.hidden || keep(), keepEvery)
    document.addEventListener('visibilitychange', () => document.hidden && keep())
  } catch {
    // Storage is off or full: without a hub there is then the browser's own page.
  }
}

/** Keeps the page with all files, whose addresses name their content, in place of those of an older version. */
async function keepPage(cache: Cache): Promise<void> {
  const response = await fetch('/offline', { cache: 'no-store' })
  if (!response.ok) return
  const text = await response.clone().text()
  const before = await cache.match('/offline')
  if (before && (await before.text()) === text) return
  const files = [...new Set([...text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, address = '']) => address))]
  const old = await cache.keys()
  await cache.addAll(files)
  await cache.put('/offline', response)
  const wanted = new Set(['/offline', stateAddress, ...files])
  await Promise.all(old.filter(({ url }) => !wanted.has(new URL(url).pathname)).map(request => cache.delete(request)))
}

async function keepState(cache: Cache, home: HomeModel): Promise<void> {
  const { catalogue } = home
  if (!catalogue || !mayKeep()) return
  const devices = catalogue.devices.filter(device => !device.hidden).slice(0, mostDevices)
  const skew = hubNow() - Date.now()
  const state: KeptState = {
    language,
    at: Date.now(),
    words: {
      title: say('offline.title'),
      values: say('offline.values'),
      again: say('offline.again'),
      waiting: say('offline.waiting'),
    },
    areas: groupsOf(catalogue, devices).map(({ name, devices: members }) => ({
      name: nameText(name),
      devices: members.map(device => ({
        name: nameText(device.name),
        values: device.values.filter(({ main, hidden }) => main && !hidden).flatMap(value => keptOf(home, value, skew)),
      })),
    })),
  }
  const body = JSON.stringify(state)
  await cache.put(stateAddress, new Response(body, { headers: { 'content-type': 'application/json' } })).catch(() => {})
}

function keptOf(home: HomeModel, value: HomeValue, skew: number) {
  const now = home.live.of(keyOf(value))
  if (!now) return []
  const { text } = shownOf(now.value, value)
  const unit = typeof now.value === 'number' && value.unit ? ` ${value.unit}` : ''
  return [{ name: nameOf(value), text: `${text}${unit}`, time: now.time - skew }]
}
