/** The pairing page, to which a QR code leads. Public, so this module imports its texts and nothing that needs a login. */

import type { Answer } from '../contract/contract.js'
import { say, translate } from './pair/words.js'
import { language } from './texts/locale.js'

type Paired = Answer<'POST /api/pair'>

const element = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T

const form = element<HTMLFormElement>('form')
const code = element<HTMLInputElement>('code')
const submit = element<HTMLButtonElement>('submit')
const patience = 20_000
let busy = false

function tell(text: string): void {
  element('error').textContent = text
}

async function pair(): Promise<void> {
  if (busy) return
  if (code.value.trim() === '') {
    tell(say('no-code'))
    code.focus()
    return
  }
  busy = true
  tell('')
  submit.textContent = say('busy')
  const response = await fetch('/api/pair', {
    method: 'POST',
    cache: 'no-store',
    headers: { accept: 'application/json', 'content-type': 'application/json' },
    body: JSON.stringify({ code: code.value.trim() }),
    signal: AbortSignal.timeout(patience),
  }).catch(() => undefined)
  busy = false
  submit.textContent = say('go')
  if (!response) return tell(say('silent'))
  const body = (await response.json().catch(() => ({}))) as Paired & { message?: unknown; said?: { code?: unknown } }
  if (!response.ok) {
    if (body.said?.code === 'wrong-code') return tell(say('wrong'))
    return tell(say('failed', { why: typeof body.message === 'string' ? body.message : response.status }))
  }
  show(body)
}

/** Shows what the device needs, a line each, and all of it for programs. */
function show({ user, password, clients, publish, read, addresses }: Paired): void {
  const [address = ''] = addresses
  const broker = URL.canParse(address) ? new URL(address.replace(/^mqtts?:/, 'http:')) : undefined
  const tls = address.startsWith('mqtts:')
  // The parser leaves out the usual port of HTTP.
  const port = /:(\d+)$/.exec(address)?.[1] ?? ''
  const host = broker?.hostname.replace(/^\[|\]$/g, '') ?? location.hostname
  const facts: readonly (readonly [string, string])[] = [
    [say('host'), host],
    [say('port'), port],
    [say('tls'), say(tls ? 'yes' : 'no')],
    [say('user'), user],
    [say('password'), password],
    ...(clients.length > 0 ? [[say('clients'), clients.join(', ')] as const] : []),
    ...(publish.length > 0 ? [[say('publish'), publish.join(', ')] as const] : []),
    ...(read.length > 0 ? [[say('read'), read.join(', ')] as const] : []),
  ]
  element('facts').replaceChildren(
    ...facts.filter(([, value]) => value !== '').flatMap(([what, value]) => factOf(what, value)),
  )
  const all = element<HTMLButtonElement>('all')
  all.hidden = !navigator.clipboard
  const json = { host, port: Number(port), tls, username: user, password, clients, publish, read }
  all.addEventListener('click', () => copy(JSON.stringify(json, undefined, 2), all))
  form.hidden = true
  element('paired').hidden = false
  element('paired').focus()
  // The code is used: neither the history nor a reload should have it.
  history.replaceState(null, '', '/pair')
}

function factOf(what: string, value: string): readonly HTMLElement[] {
  const term = document.createElement('dt')
  term.textContent = what
  const text = document.createElement('dd')
  text.textContent = value
  const act = document.createElement('dd')
  act.className = 'act'
  if (navigator.clipboard) {
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'plain'
    button.textContent = say('copy')
    button.setAttribute('aria-label', say('copy-label', { what }))
    button.addEventListener('click', () => copy(value, button))
    act.append(button)
  }
  return [term, text, act]
}

function copy(text: string, button: HTMLButtonElement): void {
  void navigator.clipboard.writeText(text).then(() => {
    button.textContent = say('copied')
  })
}

form.addEventListener('submit', event => {
  event.preventDefault()
  void pair()
})
document.documentElement.lang = language
document.title = `${say('title')} · telehub`
translate(document)
code.value = location.hash.slice(1, 65)
element('plain').hidden = isSecureContext
