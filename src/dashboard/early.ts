/* Runs before anything is drawn: sets the chosen colours, so that no page flashes in the others. No module. */

{
  const root = document.documentElement
  try {
    const theme = localStorage.getItem('telehub.theme')
    if (theme === 'light' || theme === 'dark') root.dataset.theme = theme
  } catch {
    // Storage is off: the colours of the system count.
  }
}
