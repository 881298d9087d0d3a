/*
 * Runs before anything is drawn: sets the chosen colours, so that no page flashes in the others, and asks for the first
 * devices of Home, which the modules take over when they are loaded. No module.
 */

{
  const root = document.documentElement
  try {
    const theme = localStorage.getItem('telehub.theme')
    if (theme === 'light' || theme === 'dark') root.dataset.theme = theme
  } catch {
    // Storage is off: the colours of the system count.
  }
  const isHome = document.currentScript?.hasAttribute('data-home') && /^(#home.*|#)?$/.test(location.hash)
  if (isHome) {
    const answer = fetch('/api/home?limit=200', { cache: 'no-store', headers: { accept: 'application/json' } })
    // Home asks again when there was no answer.
    Object.assign(globalThis, { firstHome: answer.catch(() => undefined) })
  }
}
