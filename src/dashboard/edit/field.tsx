import { useRef, useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import type { Outcome } from './editor.js'
import { say } from './words.js'

interface FieldProperties {
  readonly label: string
  /** The text in force. */
  readonly value: string
  readonly placeholder?: string
  readonly hint?: string
  readonly kind?: 'text' | 'number'
  readonly length?: number
  /** Returns why a text cannot be saved; empty without a fault. */
  readonly fault?: (text: string) => string
  readonly save: (text: string) => Promise<Outcome>
}

/** Text that a person has typed and not saved, and the text that was in force when the typing began. */
interface Typed {
  readonly text: string
  readonly over: string
}

/** A text that is saved when the person leaves the field. What was typed is never replaced by what others did. */
export function Field({ label, value, placeholder, hint, kind = 'text', length = 200, fault, save }: FieldProperties) {
  const [typed, setTyped] = useState<Typed>()
  const [trouble, setTrouble] = useState('')
  const input = useRef<HTMLInputElement>(null)
  const isOverwritten = typed !== undefined && typed.over !== value && typed.text !== value
  const store = async (text: string) => {
    const wrong = fault?.(text.trim()) ?? ''
    setTrouble(wrong)
    if (wrong !== '') return
    if (text.trim() === value) return setTyped(undefined)
    const saved = text.trim()
    // What was typed while the hub saved stays.
    if ((await save(saved)) === 'saved')
      setTyped(now => (now === undefined || now.text === text ? undefined : { ...now, over: saved }))
  }
  const leave = () => {
    if (typed && !isOverwritten) void store(typed.text)
  }
  return (
    <div class="field" data-trouble={isOverwritten || trouble !== ''}>
      <label>
        <span class="field-label">{label}</span>
        <input
          ref={input}
          type="text"
          inputMode={kind === 'number' ? 'decimal' : 'text'}
          maxLength={length}
          value={typed?.text ?? value}
          placeholder={placeholder}
          aria-invalid={trouble !== ''}
          onInput={event => setTyped({ text: event.currentTarget.value, over: typed?.over ?? value })}
          onBlur={leave}
          onKeyDown={event => {
            if (event.key === 'Enter') leave()
            if (event.key !== 'Escape' || !typed) return
            // The first Escape gives up what was typed, the next closes.
            event.preventDefault()
            event.stopPropagation()
            setTyped(undefined)
            setTrouble('')
          }}
        />
      </label>
      {hint ? <p class="hint">{hint}</p> : null}
      <div role="alert">
        {trouble === '' ? null : <p class="field-trouble">{trouble}</p>}
        {isOverwritten ? (
          <div class="field-theirs">
            <p>
              {say('theirs')} <bdi>{value === '' ? say('nothing') : nameText(value)}</bdi>
            </p>
            <button type="button" class="plain" onClick={() => void store(typed.text)}>
              {say('keep-mine')}
            </button>
            <button type="button" class="plain" onClick={() => setTyped(undefined)}>
              {say('take-theirs')}
            </button>
          </div>
        ) : null}
      </div>
    </div>
  )
}
