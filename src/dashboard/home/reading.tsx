import type { Value } from '../api.js'
import { say } from '../texts/language.js'
import { decimalsOf, reasonText } from '../wording.js'
import { type HomeValue, keyOf } from './catalogue.js'
import { shownOf, sideOf } from './format.js'
import type { Live, Now } from './live.js'
import { Painted, setData, write } from './painted.js'

interface ReadingProperties {
  readonly live: Live
  readonly value: HomeValue
}

/** The newest value with the unit, written at most once in a frame. */
export class Reading extends Painted<ReadingProperties> {
  #decimals = 0

  protected override watch(paint: () => void): () => void {
    const { live, value } = this.props
    return live.watch(keyOf(value), paint)
  }

  protected override paint(host: HTMLElement): void {
    const { live, value } = this.props
    const now = live.of(keyOf(value))
    const [text, unit, outside, mark] = [...host.children] as [HTMLElement, HTMLElement, HTMLElement, HTMLElement]
    const { text: shown, tone } = now ? this.#shown(now.value) : { text: '–', tone: 'quiet' }
    const isNumber = typeof now?.value === 'number'
    write(text, shown)
    write(unit, isNumber ? (value.unit ?? '') : '')
    setData(host, 'type', isNumber ? 'number' : typeof now?.value === 'string' ? 'text' : 'state')
    setData(host, 'tone', tone)
    // By a mark and a word, too: colour alone says nothing to many.
    const side = sideOf(now?.value, value)
    setData(host, 'side', side)
    write(outside, side === '' ? '' : say(`side.${side}`))
    const [fate, why] = fateOf(value, now)
    setData(host, 'fate', fate)
    const word = why === '' ? '' : say(fate === 'live' ? 'sheet.live-only' : 'sheet.late')
    write(mark, word)
    const marked = (side === '' ? 0 : 1.5) + (word === '' ? 0 : 1.5 + word.length / 2)
    const besides = (isNumber ? (value.unit?.length ?? 0) * 0.75 : 0) + marked
    setData(host, 'length', lengthOf(shown.length + besides))
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
      <span class="now" ref={this.hosted}>
        <bdi class="now-value" />
        <span class="now-unit" />
        <span class="now-side" />
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

/** Returns the size class of a value: long ones are set smaller, so that they need not be cut. */
export function lengthOf(characters: number): string {
  return characters > 13 ? 'longest' : characters > 9 ? 'longer' : characters > 7.2 ? 'long' : 'short'
}
