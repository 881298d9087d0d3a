/** The login page. Public, so this module imports its texts and nothing that needs a login. */

import { say, translate } from './login/words.js'
import { language, locale } from './texts/locale.js'

const element = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T

const form = element<HTMLFormElement>('form')
const user = element<HTMLInputElement>('user')
const password = element<HTMLInputElement>('password')
const show = element<HTMLButtonElement>('show')
const submit = element<HTMLButtonElement>('submit')

const patience = 20_000
/** Seconds to wait when the hub names no time. */
const usualWait = 60
const clock = new Intl.DateTimeFormat(locale, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})

/** Time before which no login is sent, as the hub would refuse without checking the password; 0: none. */
let notBefore = 0
let countdown: ReturnType<typeof setInterval> | undefined
let busy = false

function tell(text: string): void {
  element('error').textContent = text
}

/** Draws the button. The button is not disabled, as a disabled button would lose the focus. */
function draw(): void {
  submit.setAttribute('aria-disabled', String(busy || notBefore > 0))
  submit.textContent = say(busy ? 'busy' : 'title')
}

function markInvalid(...inputs: readonly HTMLInputElement[]): void {
  for (const input of [user, password]) {
    if (inputs.includes(input)) input.setAttribute('aria-invalid', 'true')
    else input.removeAttribute('aria-invalid')
  }
  inputs[0]?.focus()
}

/** Returns the page of this hub to go to after the login; the first page unless the address names one. */
function destination(): string {
  const next = new URLSearchParams(location.search).get('next')
  // A redirect to this page without `next` keeps the hash of the page before.
  if (next === null) return `/${location.hash}`
  if (!next.startsWith('/') || !URL.canParse(next, location.origin)) return '/'
  // `//host`, `/\\host` and everything that a parser treats alike have another origin.
  const url = new URL(next, location.origin)
  const isHere = url.origin === location.origin && !url.pathname.startsWith('//') && url.pathname !== '/login'
  return isHere ? url.pathname + url.search + url.hash : '/'
}

async function signIn(): Promise<void> {
  if (busy || notBefore > 0) return
  const missing = [user, password].filter(input => input.value === '')
  if (missing.length > 0) {
    tell(say(missing[0] === user ? 'no-user' : 'no-password'))
    return markInvalid(...missing)
  }
  reveal(false)
  tell('')
  markInvalid()
  busy = true
  draw()
  const response = await fetch('/api/login', {
    method: 'POST',
    cache: 'no-store',
    headers: { accept: 'application/json', 'content-type': 'application/json' },
    body: JSON.stringify({ user: user.value, password: password.value }),
    signal: AbortSignal.timeout(patience),
  }).catch(() => undefined)
  if (response?.ok) {
    location.replace(destination())
    return
  }
  busy = false
  draw()
  if (!response) {
    return tell(say(navigator.onLine ? 'silent' : 'offline'))
  }
  if (response.status === 429) return waitFor(secondsOf(response.headers.get('retry-after')))
  if (response.status === 401) {
    tell(say('wrong'))
    markInvalid(password)
    password.select()
    return
  }
  const body = (await response.json().catch(() => ({}))) as { message?: unknown; said?: { code?: unknown } }
  if (response.status === 503) return tell(say('crowded'))
  if (body.said?.code === 'may-not-sign-in') return tell(say('may-not'))
  const message = typeof body.message === 'string' ? body.message : ''
  tell(say('failed', { why: message || say('status', { status: response.status }) }))
}

/** Parses a Retry-After header, which has a number of seconds or a date. */
function secondsOf(header: string | null): number {
  if (header === null) return usualWait
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - Date.now()) / 1000
  return Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : usualWait
}

function waitFor(seconds: number): void {
  notBefore = Date.now() + seconds * 1000
  // Announced once with the time of day; the countdown is only visible.
  tell(say('wait', { time: clock.format(notBefore) }))
  clearInterval(countdown)
  countdown = setInterval(count, 250)
  count()
  draw()
}

function count(): void {
  const left = Math.ceil((notBefore - Date.now()) / 1000)
  const over = left <= 0
  const [minutes, seconds] = [Math.floor(left / 60), left % 60]
  element('countdown').textContent = over ? '' : `${minutes}:${String(seconds).padStart(2, '0')}`
  if (!over) return
  clearInterval(countdown)
  notBefore = 0
  tell('')
  draw()
}

function reveal(shown: boolean): void {
  password.type = shown ? 'text' : 'password'
  show.setAttribute('aria-pressed', String(shown))
  show.title = say(shown ? 'hide' : 'show')
}

form.addEventListener('submit', event => {
  event.preventDefault()
  void signIn()
})
show.addEventListener('click', () => reveal(password.type === 'password'))
for (const input of [user, password]) {
  input.addEventListener('input', () => input.removeAttribute('aria-invalid'))
  input.addEventListener('keyup', event => {
    const caps = event.getModifierState?.('CapsLock') === true
    const text = caps && input === password ? say('caps') : ''
    if (element('caps').textContent !== text) element('caps').textContent = text
  })
}
document.documentElement.lang = language
document.title = `${say('title')} · telehub`
translate(document)
reveal(false)
draw()
element('host').textContent = say('host', { host: location.host })
element('plain').hidden = isSecureContext
if (!user.value) user.focus()
