/** The menu with the colours and the language of the page. Both are kept by the browser. */

import { element, make } from './nodes.js'
import { language, languageKey, languages, say } from './texts/language.js'

const themes = ['system', 'light', 'dark'] as const
const themeKey = 'telehub.theme'

function keep(key: string, value: string | undefined): void {
  try {
    if (value === undefined) localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    // Storage is off: kept for as long as the page is open.
  }
}

/** Fills the menu. A change of language loads the page again. */
export function startDisplay(): void {
  const root = document.documentElement
  const buttons = themes.map(theme => {
    const button = make('button', '', say(`display.${theme}`))
    button.type = 'button'
    button.addEventListener('click', () => {
      keep(themeKey, theme === 'system' ? undefined : theme)
      if (theme === 'system') delete root.dataset.theme
      else root.dataset.theme = theme
      press()
      // Charts are painted, and so know nothing of a change of colours.
      dispatchEvent(new Event('telehub-theme'))
    })
    return button
  })
  const press = () =>
    buttons.forEach((button, i) => {
      button.setAttribute('aria-pressed', String((root.dataset.theme ?? 'system') === themes[i]))
    })
  press()
  element('theme').append(...buttons)

  const select = element<HTMLSelectElement>('language')
  for (const [name, words] of Object.entries(languages)) {
    const option = make('option', '', words)
    option.value = name
    option.lang = name
    option.selected = name === language
    select.append(option)
  }
  select.addEventListener('change', () => {
    keep(languageKey, select.value)
    location.reload()
  })
}
