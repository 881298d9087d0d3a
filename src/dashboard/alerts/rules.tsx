import { useState } from 'preact/hooks'
import { ask } from '../home/confirm.js'
import { nameText } from '../wording.js'
import { useAlerts } from './context.js'
import { type Definition, kindOf, severities, withKeys } from './definition.js'
import { deleteRule, type RuleRow, saveRule } from './requests.js'
import { ruleText } from './rule-words.js'
import { say, sayCount } from './words.js'

/** Returns the address at which a rule is edited, or looked at. */
export function ruleAddress(name: string): string {
  return `#alerts&${new URLSearchParams({ rule: name })}`
}

/** All rules, each as a sentence. */
export function Rules() {
  const { rules, mayChange, text } = useAlerts()
  if (rules === 'denied') return <p class="alerts-none">{say('rules.denied')}</p>
  if (!rules) return <p class="hint">{say('loading')}</p>
  const words = text.split(/\s+/).filter(Boolean)
  const sentences = rules.rules.map(row => [row, ruleText(row.definition as Definition)] as const)
  const shown = sentences
    .filter(([{ name }, said]) => words.every(word => `${name}\n${said}`.toLowerCase().includes(word)))
    .sort(
      ([a], [b]) =>
        b.firing - a.firing ||
        severities.indexOf(b.severity) - severities.indexOf(a.severity) ||
        a.name.localeCompare(b.name),
    )
  return (
    <>
      <div class="alerts-bar">
        {mayChange ? (
          <a class="plain primary" href="#alerts&new">
            {say('rules.new')}
          </a>
        ) : null}
        <p class="hint" role="status">
          {sayCount('rules.count', rules.rules.length)} · {sayCount('rules.watched', rules.counts.watched ?? 0)}
        </p>
      </div>
      {rules.mistakes.length > 0 ? (
        <div class="alerts-mistakes" role="alert">
          <p>
            <strong>{say('rules.mistakes')}</strong>
          </p>
          <ul>
            {rules.mistakes.map(mistake => (
              <li key={mistake}>
                <bdi>{nameText(mistake)}</bdi>
              </li>
            ))}
          </ul>
        </div>
      ) : null}
      {rules.rules.length === 0 ? <p class="alerts-none">{say('rules.none')}</p> : null}
      <ul class="rules">
        {shown.map(([row, said]) => (
          <Rule key={row.name} {...{ row, said, mayChange }} />
        ))}
      </ul>
    </>
  )
}

interface RuleProperties {
  readonly row: RuleRow
  readonly said: string
  readonly mayChange: boolean
}

function Rule({ row, said, mayChange }: RuleProperties) {
  const model = useAlerts()
  const [trouble, setTrouble] = useState('')
  const [isBusy, setBusy] = useState(false)
  const { name, severity, source, file, line, enabled, watched, firing, definition } = row
  const isOwn = source === 'api'
  const act = async (what: () => Promise<unknown>) => {
    setBusy(true)
    setTrouble('')
    await what().catch((error: unknown) => setTrouble(say('failed', { why: (error as Error).message })))
    setBusy(false)
    await model.refresh()
  }
  const toggle = () => saveRule(name, withKeys(definition as Definition, { enabled: enabled ? false : undefined }))
  const remove = async () => {
    if (await ask(say('rules.delete'), name)) await act(() => deleteRule(name))
  }
  const facts = [
    ...(enabled ? [] : [say('rules.off')]),
    ...(enabled && kindOf(definition as Definition) !== 'hub' ? [sayCount('rules.watches', watched)] : []),
    ...(firing > 0 ? [sayCount('rules.firing', firing)] : []),
    ...(isOwn ? [] : [say('rules.where', { file: nameText(shortened(file ?? '')), line: line ?? 1 })]),
  ]
  return (
    <li class="alerts-item" data-severity={severity} data-rule={name} data-off={!enabled}>
      <div class="alerts-main">
        <p class="alerts-sentence">
          <span class="alerts-level">{say(`severity.${severity}`)}</span>{' '}
          <a href={ruleAddress(name)}>
            <bdi>{nameText(name)}</bdi>
          </a>
        </p>
        <p>
          <bdi>{said}</bdi>
        </p>
        <p class="alerts-facts hint" title={file}>
          {facts.map(fact => (
            <span key={fact}>{fact}</span>
          ))}
        </p>
        {trouble ? (
          <p class="alerts-trouble" role="alert">
            {trouble}
          </p>
        ) : null}
      </div>
      {mayChange && isOwn ? (
        <div class="alerts-acts">
          <a class="plain" href={ruleAddress(name)} aria-label={say('rules.edit-label', { name: nameText(name) })}>
            {say('rules.edit')}
          </a>
          <button
            type="button"
            class="plain"
            disabled={isBusy}
            aria-label={say(enabled ? 'rules.disable-label' : 'rules.enable-label', { name: nameText(name) })}
            onClick={() => void act(toggle)}
          >
            {say(enabled ? 'rules.disable' : 'rules.enable')}
          </button>
          <button
            type="button"
            class="plain danger"
            disabled={isBusy}
            aria-label={say('rules.delete-label', { name: nameText(name) })}
            onClick={() => void remove()}
          >
            {say('rules.delete')}
          </button>
        </div>
      ) : null}
    </li>
  )
}

/** Returns the last parts of a path: the whole one is long, and in the tooltip. */
function shortened(path: string): string {
  return path.split(/[\\/]/).slice(-2).join('/')
}
