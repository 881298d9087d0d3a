import type { ComponentChildren } from 'preact'
import type { Mistake } from './mistakes.js'

interface Properties {
  /** A text with names in braces. */
  readonly text: string
  /** Contents for each name. */
  readonly parts: Readonly<Record<string, ComponentChildren>>
  /** Fields of the rule that are set here; their mistakes are said below. */
  readonly fields: readonly string[]
  readonly mistakes: readonly Mistake[]
}

/** One sentence of a rule, with a control in place of each name in braces. */
export function Sentence({ text, parts, fields, mistakes }: Properties) {
  const found = mistakes.filter(({ field }) => fields.includes(field))
  return (
    <div class="rule-sentence">
      <div class="rule-words">
        {text.split(/(\{\w+\})/).map((part, i) => {
          const name = /^\{(\w+)\}$/.exec(part)?.[1]
          return name === undefined ? <span key={`${i} ${part}`}>{part}</span> : <span key={name}>{parts[name]}</span>
        })}
      </div>
      {found.map(({ field, text: said }) => (
        <p class="alerts-trouble" role="alert" key={field} data-field={field}>
          {said}
        </p>
      ))}
    </div>
  )
}
