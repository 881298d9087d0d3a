import { nameText } from '../wording.js'
import { useAlerts } from './context.js'
import { severities } from './definition.js'
import type { EditModel } from './edit-model.js'
import { Select } from './inputs.js'
import { Sentence } from './sentence.js'
import { say } from './words.js'

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
