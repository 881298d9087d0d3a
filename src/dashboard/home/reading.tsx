import { hubNow, type Value } from '../api.js'
import { say } from '../texts/language.js'
import { decimalsOf, reasonText } from '../wording.js'
import { type HomeDevice, type HomeValue, keyOf } from './catalogue.js'
import { ageText, shownOf, spanText } from './format.js'
import type { Live, Now } from './live.js'
import { Pure } from './pure.js'

interface ReadingProperties {
  readonly live: Live
  readonly value: HomeValue
}

/**
 * The newest value with the unit. Preact makes the elements once; their texts are written by hand, at most once in a
 * frame, as values may change much faster than anything else on the page.
 */
export class Reading extends Pure<ReadingProperties> {
  #end: (() => void) | undefined
  #host: HTMLElement | null = null
  readonly #hosted = (host: HTMLElement | null) => {
    this.#host = host
  }
  #decimals = 0

  override componentDidMount(): void {
    const { live, value } = this.props
    this.#end = live.watch(keyOf(value), () => this.#paint())
    this.#paint()
  }

  override componentDidUpdate(): void {
    this.componentWillUnmount()
    this.componentDidMount()
  }

  override componentWillUnmount(): void {
    this.#end?.()
  }

  #paint(): void {
    const host = this.#host
    if (!host) return
    const { live, value } = this.props
    const now = live.of(keyOf(value))
    const [text, unit, mark] = host.children as unknown as [HTMLElement, HTMLElement, HTMLElement]
    const { text: shown, tone } = now ? this.#shown(now.value) : { text: '–', tone: 'quiet' }
    const isNumber = typeof now?.value === 'number'
    write(text, shown)
    write(unit, isNumber ? (value.unit ?? '') : '')
    set(host, 'type', isNumber ? 'number' : typeof now?.value === 'string' ? 'text' : 'state')
    set(host, 'tone', tone)
    set(host, 'length', lengthOf(shown.length + (isNumber ? (value.unit?.length ?? 0) : 0) * 0.75))
    const [fate, why] = fateOf(value, now)
    set(host, 'fate', fate)
    write(mark, why === '' ? '' : say(fate === 'live' ? 'sheet.live-only' : 'sheet.late'))
    if (host.title !== why) host.title = why
  }

  /** A series keeps the most decimals so far, so that the width of the value does not jitter. */
  #shown(now: Value): ReturnType<typeof shownOf> {
    const { value } = this.props
    if (typeof now !== 'number' || value.decimals !== undefined) return shownOf(now, value)
    this.#decimals = Math.max(this.#decimals, Math.min(decimalsOf(now), Math.abs(now) >= 100 ? 1 : 2))
    return shownOf(now, { ...value, decimals: this.#decimals })
  }

  override render() {
    return (
      <span class="now" ref={this.#hosted}>
        <bdi class="now-value" />
        <span class="now-unit" />
        <span class="now-mark" />
      </span>
    )
  }
}

/** Returns whether a value is stored, and if not the reason. */
export function fateOf(value: HomeValue, now: Now | undefined): readonly [fate: string, why: string] {
  const reason = now?.refused?.reason ?? (value.fate === 'live' ? value.reason : undefined)
  if (now?.refused || (value.fate === 'live' && !now)) {
    const detail = now?.refused?.detail ?? value.detail ?? ''
    const why = [reasonText(reason ?? '') || (reason ?? ''), detail].filter(Boolean).join(': ')
    return ['live', say('card.live-only', { why })]
  }
  if (now?.quality === 'absent') return ['late', say('card.absent')]
  if (now && now.quality !== 'good') return ['late', say('card.late')]
  return ['kept', '']
}

interface StatusProperties {
  readonly live: Live
  readonly device: HomeDevice
}

/** Whether a device is there, and when last heard of. Written once a second. */
export class Status extends Pure<StatusProperties> {
  #end: (() => void) | undefined
  #host: HTMLElement | null = null
  readonly #hosted = (host: HTMLElement | null) => {
    this.#host = host
  }

  override componentDidMount(): void {
    this.#end = this.props.live.eachSecond(() => this.#paint())
    this.#paint()
  }

  override componentDidUpdate(): void {
    this.#paint()
  }

  override componentWillUnmount(): void {
    this.#end?.()
  }

  #paint(): void {
    const host = this.#host
    if (!host) return
    const { live, device } = this.props
    const heard = heardOf(live, device)
    const age = hubNow() - heard
    const state = device.online === false ? 'offline' : device.silent ? 'silent' : heard === 0 ? 'never' : 'online'
    set(host, 'state', state)
    const since = heard === 0 ? '' : ` ${spanText(age)}`
    const words =
      state === 'online' ? ageText(age) : state === 'never' ? say('card.never') : `${say(`card.${state}`)}${since}`
    write(host.lastElementChild as HTMLElement, words)
  }

  override render() {
    return (
      <span class="thing-status" ref={this.#hosted}>
        <span class="dot" aria-hidden="true" />
        <span />
      </span>
    )
  }
}

/** Returns when the hub last heard of a device; 0: never. */
export function heardOf(live: Live, device: HomeDevice): number {
  return Math.max(device.lastSeen, ...device.values.map(({ topic }) => live.heard(topic)))
}

/** Returns the size class of a value: long ones are set smaller, so that they need not be cut. */
export function lengthOf(characters: number): string {
  return characters > 13 ? 'longest' : characters > 9 ? 'longer' : characters > 7.2 ? 'long' : 'short'
}

function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

function set(element: HTMLElement, name: string, value: string): void {
  if (element.dataset[name] !== value) element.dataset[name] = value
}
