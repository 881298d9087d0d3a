import { nameText } from '../wording.js'
import { useMapping } from './context.js'
import { type FieldPlan, planOf, withKept, withName, withType, withUnit } from './draft.js'
import { say } from './words.js'

const types = ['', 'number', 'boolean', 'text', 'tag'] as const

/** The fields of the last messages: which are stored, under which name, as what, and in which unit. */
export function Fields() {
  const model = useMapping()
  const { rule = {}, check } = model
  const fields = check?.fields ?? []
  const all = fields.map(({ name }) => name)
  if (fields.length === 0) return <p class="hint">{say('fields.none')}</p>
  return (
    <fieldset class="fields">
      <legend>{say('fields')}</legend>
      <ul>
        {fields.map(({ name, value, unit: given }) => {
          const plan = planOf(rule, name)
          const named = { field: nameText(name) }
          return (
            <li key={name} data-off={!plan.isKept}>
              <label class="toggle field-name">
                <input
                  type="checkbox"
                  checked={plan.isKept}
                  onChange={event => model.edit(withKept(rule, name, event.currentTarget.checked))}
                />
                <span>
                  <bdi>{nameText(name)}</bdi>{' '}
                  <span class="field-value">
                    <bdi>{nameText(String(value).slice(0, 60))}</bdi>
                  </span>
                </span>
              </label>
              {plan.isKept ? (
                <span class="field-parts">
                  {plan.type === 'tag' ? null : (
                    <input
                      aria-label={say('field.name', named)}
                      placeholder={name}
                      value={plan.name === name ? '' : plan.name}
                      onInput={event => model.edit(withName(rule, name, event.currentTarget.value, all))}
                    />
                  )}
                  <select
                    aria-label={say('field.type', named)}
                    value={plan.type}
                    onChange={event => model.edit(withType(rule, name, event.currentTarget.value as FieldPlan['type']))}
                  >
                    {types.map(type => (
                      <option key={type} value={type}>
                        {say(`type.${type || 'any'}`)}
                      </option>
                    ))}
                  </select>
                  {plan.type === 'tag' ? null : (
                    <input
                      class="field-unit"
                      aria-label={say('field.unit', named)}
                      placeholder={given ?? say('unit')}
                      value={plan.unit}
                      onInput={event => model.edit(withUnit(rule, name, event.currentTarget.value))}
                    />
                  )}
                </span>
              ) : (
                <span class="hint">{say('field.off')}</span>
              )}
            </li>
          )
        })}
      </ul>
      {rule.fields === undefined ? null : <p class="hint">{say('fields.only')}</p>}
    </fieldset>
  )
}
