/** The controls of a sentence. */

import { useEffect, useState } from 'preact/hooks'
import { type Duration, durationOf } from './definition.js'
import type { AlertsKey } from './en.js'
import { say } from './words.js'

interface Common {
  /** Name of the control, for those who do not see the sentence around. */
  readonly label: string
  /** Whether what is set is wrong. */
  readonly isWrong?: boolean
  readonly isOff?: boolean
}

/** Returns the width of a control that shows a text, in characters. */
function widthOf(text: string): { readonly width: string } {
  return { width: `${Math.min(40, Math.max(2, text.length)) + 3}ch` }
}

interface NumberProperties extends Common {
  readonly value: unknown
  readonly unit?: string
  readonly isPositive?: boolean
  /** Called with null when there is no number. */
  readonly onValue: (value: number | null) => void
}

/** A number with its unit. What is being typed stays as typed, until another number comes from elsewhere. */
export function NumberInput({ label, value, unit, isWrong, isOff, isPositive, onValue }: NumberProperties) {
  const shown = typeof value === 'number' ? String(value) : ''
  const [text, setText] = useState(shown)
  useEffect(() => {
    if (shown !== '' && Number(text.replace(',', '.')) !== Number(shown)) setText(shown)
  }, [shown])
  return (
    <span class="blank" data-wrong={isWrong}>
      <input
        type="text"
        inputMode="decimal"
        aria-label={label}
        aria-invalid={isWrong}
        disabled={isOff}
        value={text}
        style={widthOf(text)}
        onInput={event => {
          const { value: typed } = event.currentTarget
          setText(typed)
          const number = Number(typed.trim().replace(',', '.').replace('−', '-'))
          const isNumber = typed.trim() !== '' && Number.isFinite(number) && !(isPositive && number < 0)
          onValue(isNumber ? number : null)
        }}
        onKeyDown={event => {
          const by = event.key === 'ArrowUp' ? 1 : event.key === 'ArrowDown' ? -1 : 0
          if (by === 0 || typeof value !== 'number') return
          event.preventDefault()
          const next = Number((value + by * (event.shiftKey ? 10 : 1)).toFixed(6))
          onValue(isPositive ? Math.max(0, next) : next)
        }}
      />
      {unit ? <span class="blank-unit">{unit}</span> : null}
    </span>
  )
}

interface SelectProperties<Value extends string> extends Common {
  readonly value: Value
  readonly options: readonly (readonly [value: Value, text: string])[]
  readonly onValue: (value: Value) => void
}

export function Select<Value extends string>({
  label,
  value,
  options,
  isWrong,
  isOff,
  onValue,
}: SelectProperties<Value>) {
  const text = options.find(([one]) => one === value)?.[1] ?? ''
  return (
    <span class="blank" data-wrong={isWrong}>
      <select
        aria-label={label}
        aria-invalid={isWrong}
        disabled={isOff}
        value={value}
        // Two columns for wide characters.
        style={{
          width: `calc(${[...text].reduce((sum, char) => sum + (char > '\u2e80' ? 1.9 : 1), 0) * 1.02}ch + 40px)`,
        }}
        onChange={event => onValue(event.currentTarget.value as Value)}
      >
        {options.map(([one, said]) => (
          <option key={one} value={one}>
            {said}
          </option>
        ))}
      </select>
    </span>
  )
}

interface DurationProperties extends Common {
  readonly value: unknown
  /** Word for no time at all. Left out: there must be one. */
  readonly none?: string
  /** Called with undefined for no time. */
  readonly onValue: (value: string | undefined) => void
}

const unitNames: Readonly<Record<Duration['unit'], AlertsKey>> = {
  ...{ s: 'unit.s', m: 'unit.m', h: 'unit.h', d: 'unit.d' },
}
const unitsInOrder = ['s', 'm', 'h', 'd'] as const

/** A time: a number and its unit. */
export function DurationInput({ label, value, none, isWrong, isOff, onValue }: DurationProperties) {
  const { count, unit } = durationOf(value) ?? { count: undefined, unit: 'm' as const }
  const isNone = value === undefined && none !== undefined
  const [typed, setTyped] = useState<string>()
  const options = unitsInOrder.map(one => [one as string, say(unitNames[one])] as const)
  return (
    <span class="blanks">
      {isNone ? null : (
        <span class="blank" data-wrong={isWrong}>
          <input
            type="text"
            inputMode="decimal"
            aria-label={label}
            aria-invalid={isWrong}
            disabled={isOff}
            value={typed ?? (count === undefined ? '' : String(count))}
            style={widthOf(typed ?? String(count ?? ''))}
            onInput={event => {
              const { value: text } = event.currentTarget
              setTyped(text)
              onValue(`${text.trim().replace(',', '.')}${unit}`)
            }}
            onBlur={() => setTyped(undefined)}
          />
        </span>
      )}
      <Select
        label={say('unit.of', { name: label })}
        value={isNone ? '' : (unit as string)}
        options={none === undefined ? options : [['', none], ...options]}
        isOff={isOff ?? false}
        onValue={next => onValue(next === '' ? undefined : `${count ?? 10}${next}`)}
      />
    </span>
  )
}

interface TextProperties extends Common {
  readonly value: string
  readonly placeholder?: string
  /** Values to choose from. */
  readonly list?: readonly string[]
  readonly maxLength?: number
  readonly onValue: (value: string) => void
}

let lists = 0

export function TextInput({
  label,
  value,
  placeholder,
  list = [],
  maxLength,
  isWrong,
  isOff,
  onValue,
}: TextProperties) {
  const [id] = useState(() => `alerts-list-${lists++}`)
  return (
    <span class="blank" data-wrong={isWrong}>
      <input
        type="text"
        aria-label={label}
        aria-invalid={isWrong}
        disabled={isOff}
        value={value}
        placeholder={placeholder}
        maxLength={maxLength}
        list={list.length > 0 ? id : undefined}
        style={widthOf(value || (placeholder ?? ''))}
        onInput={event => onValue(event.currentTarget.value)}
      />
      {list.length > 0 ? (
        <datalist id={id}>
          {list.map(one => (
            <option key={one} value={one} />
          ))}
        </datalist>
      ) : null}
    </span>
  )
}
