/** The page that is shown while the hub cannot be reached: the last state, and how old that is. Needs no answer of the hub. */

import { type KeptState, offlineCache, stateAddress } from './offline/state.js'

/** Time between two attempts to reach the hub. */
const tryEvery = 5_000

const element = (id: string) => document.getElementById(id) as HTMLElement

function make(tag: string, className: string, text = ''): HTMLElement {
  const made = document.createElement(tag)
  made.className = className
  made.textContent = text
  return made
}

/** Formats an age such as `3 hours ago`. */
function ageText(age: number, language: string): string {
  const format = new Intl.RelativeTimeFormat(language, { numeric: 'always', style: 'short' })
  const minutes = Math.max(0, Math.floor(age / 60_000))
  if (minutes < 1) return format.format(-Math.max(0, Math.floor(age / 1_000)), 'second')
  if (minutes < 120) return format.format(-minutes, 'minute')
  return minutes < 2_880
    ? format.format(-Math.floor(minutes / 60), 'hour')
    : format.format(-Math.floor(minutes / 1_440), 'day')
}

function draw({ language, at, words, areas }: KeptState): void {
  document.documentElement.lang = language
  element('title').textContent = words.title
  element('again').textContent = words.again
  element('waiting').textContent = words.waiting
  const moment = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' })
  const say = () => {
    const text = words.values.replace('{time}', moment.format(at)).replace('{age}', ageText(Date.now() - at, language))
    if (element('since').textContent !== text) element('since').textContent = text
  }
  say()
  setInterval(say, 10_000)
  const clock = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' })
  for (const { name, devices } of areas) {
    const section = make('section', 'kept-area')
    if (name) section.append(make('h2', '', name))
    const list = make('ul', '')
    for (const device of devices) {
      const item = make('li', 'kept-device')
      const facts = make('dl', '')
      for (const value of device.values) {
        const row = make('div', '')
        const shown = make('dd', '')
        shown.append(make('bdi', '', value.text))
        // Older than the rest: then the time says more than the age of all.
        if (at - value.time > 120_000) shown.append(make('span', 'hint', clock.format(value.time)))
        row.append(make('dt', '', value.name), shown)
        facts.append(row)
      }
      const heading = make('h3', '')
      heading.append(make('bdi', '', device.name))
      item.append(heading, facts)
      list.append(item)
    }
    section.append(list)
    element('areas').append(section)
  }
}

async function tryAgain(): Promise<void> {
  const answer = await fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(4_000) }).catch(
    () => undefined,
  )
  if (answer?.ok) location.reload()
}

element('again').addEventListener('click', () => location.reload())
setInterval(() => document.hidden || void tryAgain(), tryEvery)
addEventListener('online', () => void tryAgain())
const cache = await caches.open(offlineCache)
const kept = await cache.match(stateAddress)
if (kept) draw((await kept.json()) as KeptState)
