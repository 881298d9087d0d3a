/** A page on a wall (`/?kiosk`): nothing to touch, the screen stays on, and a new version of the hub is shown by itself. */

/** Time without a movement after which the pointer is hidden. */
const stillAfterMs = 3_000
/** Interval at which the page asks which version the hub serves. */
const askEveryMs = 60_000

/** Returns the part of an address that changes with each version of the files of the pages. */
function versionIn(text: string): string | undefined {
  return /\/assets\/([0-9a-f]+)\//.exec(text)?.[1]
}

async function reloadIfNew(): Promise<void> {
  const here = versionIn(import.meta.url)
  try {
    const response = await fetch('/', { cache: 'no-store', signal: AbortSignal.timeout(15_000) })
    const there = response.ok ? versionIn(await response.text()) : undefined
    // Where the page is not that of the hub (a login, a proxy), nothing is concluded.
    if (here !== undefined && there !== undefined && there !== here) location.reload()
  } catch {
    // The hub is away: asked again.
  }
}

async function keepAwake(): Promise<void> {
  if (document.hidden || !('wakeLock' in navigator)) return
  await navigator.wakeLock.request('screen').catch(() => {
    // The browser does not allow that now, as with little battery: tried again when the page is shown the next time.
  })
}

/** Whether the address asks for a page on a wall. */
export function isKiosk(): boolean {
  return new URLSearchParams(location.search).has('kiosk')
}

export function startKiosk(): void {
  const root = document.documentElement
  root.dataset.kiosk = ''
  void keepAwake()
  // The lock is lost whenever the page is hidden.
  document.addEventListener('visibilitychange', () => void keepAwake())
  setInterval(() => void reloadIfNew(), askEveryMs)
  let still: ReturnType<typeof setTimeout> | undefined
  const moved = () => {
    clearTimeout(still)
    delete root.dataset.still
    still = setTimeout(() => {
      root.dataset.still = ''
    }, stillAfterMs)
  }
  addEventListener('pointermove', moved, { passive: true })
  moved()
}
