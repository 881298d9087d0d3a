import { useAlerts } from './context.js'
import type { View } from './model.js'
import { say } from './words.js'

const tabs = [
  ['now', '#alerts', 'tab.now'],
  ['history', '#alerts&view=history', 'tab.history'],
  ['rules', '#alerts&view=rules', 'tab.rules'],
  ['notify', '#alerts&view=notify', 'tab.notify'],
] as const

/** Tabs under which what is opened from a part stands. */
const within: Readonly<Partial<Record<View, View>>> = { edit: 'rules', alert: 'history' }

/** Links to the parts of the page. Those that the user may not read are left out. */
export function Tabs() {
  const { view, rules, now } = useAlerts()
  const shown = within[view] ?? view
  const firing = now?.alerts.filter(({ state, muted }) => state === 'firing' && !muted).length ?? 0
  return (
    <nav class="alerts-tabs" aria-label={say('tab.parts')}>
      {tabs
        .filter(([name]) => name !== 'rules' || rules !== 'denied')
        .map(([name, address, text]) => (
          <a key={name} href={address} aria-current={name === shown ? 'page' : undefined}>
            {say(text)}
            {name === 'now' && firing > 0 ? <span class="alerts-count">{firing}</span> : null}
          </a>
        ))}
    </nav>
  )
}
