import { locale } from '../texts/language.js'
import { dayKeys, type WeekSpan, weekSpanOf, weekSpanText } from './schedule.js'
import { say } from './words.js'

interface Properties {
  readonly value: unknown
  readonly isOff: boolean
  readonly onValue: (value: readonly string[] | string | undefined) => void
}

const short = new Intl.DateTimeFormat(locale, { weekday: 'short', timeZone: 'UTC' })
const long = new Intl.DateTimeFormat(locale, { weekday: 'long', timeZone: 'UTC' })
/** The first of January 2024 was a Monday. */
const dateOf = (day: number) => Date.UTC(2024, 0, 1 + day)

/** Days and times at which alerts may begin: one line for each part of the week. */
export function ScheduleInput({ value, isOff, onValue }: Properties) {
  const texts = [value].flat().map(String)
  const put = (at: number, text: string | undefined) => {
    const next = text === undefined ? texts.filter((_, i) => i !== at) : texts.map((one, i) => (i === at ? text : one))
    onValue(next.length === 0 ? undefined : next.length === 1 ? next[0] : next)
  }
  return (
    <div class="schedule">
      {texts.map((text, i) => (
        <Line key={i} {...{ text, isOff }} onText={next => put(i, next)} />
      ))}
      {isOff ? null : (
        <button type="button" class="plain" onClick={() => onValue([...texts, 'sat,sun'])}>
          {say('schedule.add')}
        </button>
      )}
    </div>
  )
}

interface LineProperties {
  readonly text: string
  readonly isOff: boolean
  readonly onText: (text: string | undefined) => void
}

function Line({ text, isOff, onText }: LineProperties) {
  const span = weekSpanOf(text)
  const change = (part: Partial<WeekSpan>) => span && onText(weekSpanText({ ...span, ...part }))
  const toggled = (day: number) =>
    span?.days.includes(day) ? span.days.filter(one => one !== day) : [...(span?.days ?? []), day]
  const clock = (name: 'from' | 'to') => (
    <input
      type="time"
      aria-label={say(`schedule.${name}`)}
      disabled={isOff}
      value={span?.[name] ?? ''}
      onInput={event => {
        const { value } = event.currentTarget
        const other = name === 'from' ? 'to' : 'from'
        // The whole day has neither; one alone is no span.
        const rest = value === '' ? '' : span?.[other] || (other === 'to' ? '18:00' : '08:00')
        change({ [name]: value, [other]: rest })
      }}
    />
  )
  return (
    <div class="schedule-line">
      {span ? (
        <>
          <fieldset class="schedule-days" aria-label={say('schedule.days')}>
            {dayKeys.map((key, day) => (
              <button
                key={key}
                type="button"
                class="schedule-day"
                disabled={isOff}
                aria-pressed={span.days.includes(day)}
                title={long.format(dateOf(day))}
                onClick={() => change({ days: toggled(day) })}
              >
                {short.format(dateOf(day))}
              </button>
            ))}
          </fieldset>
          <span class="schedule-times">
            {clock('from')} – {clock('to')}
          </span>
        </>
      ) : (
        <input
          type="text"
          aria-label={say('schedule.text')}
          disabled={isOff}
          value={text}
          placeholder="mon-fri 08:00-18:00"
          onInput={event => onText(event.currentTarget.value)}
        />
      )}
      {isOff ? null : (
        <button type="button" class="plain" aria-label={say('schedule.remove')} onClick={() => onText(undefined)}>
          ×
        </button>
      )}
    </div>
  )
}
