import { useState } from 'preact/hooks'
import type { EditModel } from './edit-model.js'
import { say } from './words.js'

/** The rule as the API takes it, for what the sentence has no word for. */
export function RuleText({ edit }: { readonly edit: EditModel }) {
  const [typed, setTyped] = useState<string>()
  const [trouble, setTrouble] = useState('')
  const { mistakes } = edit
  const others = mistakes.filter(({ field }) => ['late', 'enabled', 'mute', 'of'].includes(field) || isUnknown(field))
  return (
    <details class="scope-exact">
      <summary>{say('json.title')}</summary>
      <textarea
        aria-label={say('json.title')}
        rows={8}
        spellcheck={false}
        readOnly={edit.isReadOnly}
        value={typed ?? JSON.stringify(edit.rule, undefined, 2)}
        onInput={event => {
          const { value } = event.currentTarget
          setTyped(value)
          try {
            const rule: unknown = JSON.parse(value)
            if (typeof rule !== 'object' || rule === null || Array.isArray(rule)) throw new Error(say('json.no-map'))
            setTrouble('')
            edit.replace(rule as EditModel['rule'])
          } catch (error) {
            setTrouble((error as Error).message)
          }
        }}
        onBlur={() => {
          if (trouble === '') setTyped(undefined)
        }}
      />
      {[...(trouble === '' ? [] : [trouble]), ...others.map(({ text }) => text)].map(text => (
        <p class="alerts-trouble" role="alert" key={text}>
          {text}
        </p>
      ))}
    </details>
  )
}

const known = [
  ...['', 'what', 'name', 'about', 'severity', 'when', 'unless', 'for', 'hysteresis', 'minus', 'measurement', 'field'],
  ...['device', 'class', 'tags', 'above', 'below', 'rate', 'silent', 'offline', 'equals', 'not', 'unusual', 'hub'],
  ...['late', 'enabled', 'mute', 'of'],
]

/** Whether no control is about a field. */
function isUnknown(field: string): boolean {
  return !known.includes(field)
}
