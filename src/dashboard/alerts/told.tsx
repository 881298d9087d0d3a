import { nameText } from '../wording.js'
import { useAlerts } from './context.js'
import { severities } from './definition.js'
import type { EditModel } from './edit-model.js'
import { Select } from './inputs.js'
import { Sentence } from './sentence.js'
import { say } from './words.js'

/** Targets that are told of the rule, whatever the routes say. */
function Also({ edit }: { readonly edit: EditModel }) {
  const { notify } = useAlerts()
  const { rule, isReadOnly } = edit
  const own = [rule.notify ?? []].flat().map(String)
  const known = typeof notify === 'object' ? notify.targets.filter(({ type }) => type !== 'removed') : []
  const names = [...new Set([...known.map(({ target }) => target), ...own])]
  if (names.length === 0) return null
  const put = (name: string, isTold: boolean) => {
    const next = isTold ? [...own, name] : own.filter(one => one !== name)
    edit.set({ notify: next.length > 0 ? next : undefined })
  }
  return (
    <fieldset class="scope">
      <legend>{say('told.also')}</legend>
      {names.map(name => (
        <label key={name} class="alerts-choice">
          <input
            type="checkbox"
            checked={own.includes(name)}
            disabled={isReadOnly}
            onChange={event => put(name, event.currentTarget.checked)}
          />
          <bdi>{nameText(name)}</bdi>
        </label>
      ))}
    </fieldset>
  )
}

/** The choice who is told of the alerts of a rule: those whom the routes of the severity name, or nobody. */
export function Told({ edit }: { readonly edit: EditModel }) {
  const { notify } = useAlerts()
  const { rule, mistakes, isReadOnly } = edit
  const severity = severities.find(one => one === rule.severity) ?? 'warning'
  const routes = typeof notify === 'object' ? notify.routes.filter(route => route.severity.includes(severity)) : []
  const targets = [...new Set(routes.flatMap(route => route.targets))]
  const later = [...new Set(routes.flatMap(route => route.escalate.flatMap(({ to }) => to)))]
  return (
    <>
      <Sentence
        {...{ mistakes, fields: ['mute'] }}
        text={say('clause.told')}
        parts={{
          told: (
            <Select
              label={say('told.label')}
              value={rule.mute === true ? 'nobody' : 'routes'}
              options={[
                ['routes', say('told.routes')],
                ['nobody', say('told.nobody')],
              ]}
              isOff={isReadOnly}
              onValue={next => edit.set({ mute: next === 'nobody' ? true : undefined })}
            />
          ),
        }}
      />
      {rule.mute === true ? null : <Also edit={edit} />}
      {typeof notify === 'object' && rule.mute !== true ? (
        <p class="hint">
          {targets.length > 0
            ? say('told.targets', { severity: say(`severity.${severity}`), targets: targets.map(nameText).join(', ') })
            : say('told.no-target', { severity: say(`severity.${severity}`) })}
          {later.length > 0 ? ` ${say('told.later', { targets: later.map(nameText).join(', ') })}` : ''}{' '}
          <a class="link" href="#alerts&view=notify">
            {say('tab.notify')}
          </a>
        </p>
      ) : null}
    </>
  )
}
