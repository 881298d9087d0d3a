import type { HomeValue } from '../home/catalogue.js'
import { nameOf } from '../home/format.js'
import type { HomeModel } from '../home/model.js'
import { Reading } from '../home/reading.js'
import type { ValueEdit, ValuePatch } from './changes.js'
import { Check } from './check.js'
import { EditIcon } from './edit-icon.js'
import type { Outcome } from './editor.js'
import { Field } from './field.js'
import { say } from './words.js'

interface ValueProperties {
  readonly value: HomeValue
  readonly edit: ValueEdit
  readonly model: HomeModel
  /** Place among the main values; less than 0: none of them. */
  readonly at: number
  readonly count: number
  readonly isFull: boolean
  /** Moves the value among the main values; undefined: out of these. */
  readonly place: (to: number | undefined) => Promise<Outcome>
  readonly save: (change: ValuePatch) => Promise<Outcome>
}

const limits = ['veryLow', 'low', 'high', 'veryHigh'] as const

/** One value of a device: whether it is shown large, and in the details the name and the format. */
export function ValueEditor({ value, edit, model, at, count, isFull, place, save }: ValueProperties) {
  const name = nameOf(value)
  const isMain = at >= 0
  const unit = value.unit ?? ''
  return (
    <li class="edit-value" data-hidden={edit.hidden === true}>
      <div class="edit-value-head">
        <Check
          checked={isMain}
          disabled={!isMain && isFull}
          label={say('main', { name })}
          text={name}
          save={checked => place(checked ? count : undefined)}
        />
        <Reading live={model.live} value={value} />
        {isMain ? (
          <>
            <button
              type="button"
              class="tool"
              disabled={at === 0}
              aria-label={say('earlier', { name })}
              onClick={() => void place(at - 1)}
            >
              <EditIcon name="earlier" />
            </button>
            <button
              type="button"
              class="tool"
              disabled={at === count - 1}
              aria-label={say('later', { name })}
              onClick={() => void place(at + 1)}
            >
              <EditIcon name="later" />
            </button>
          </>
        ) : null}
      </div>
      <details>
        <summary>
          <EditIcon name="change" size={16} /> {say('details')} <span class="unseen">{name}</span>
        </summary>
        <div class="fields">
          <Field
            label={say('name')}
            value={edit.name ?? name}
            save={text => save({ name: text === '' ? null : text })}
          />
          <div class="field-row">
            <Field
              label={say('unit')}
              value={edit.unit ?? unit}
              length={40}
              save={text => save({ unit: text === '' && edit.unit !== undefined ? null : text })}
            />
            <Field
              label={say('decimals')}
              kind="number"
              value={edit.decimals === undefined ? '' : String(edit.decimals)}
              placeholder={say('as-it-comes')}
              length={2}
              fault={text => (/^(?:\d|1[0-2])?$/.test(text) ? '' : say('decimals-fault'))}
              save={text => save({ decimals: text === '' ? null : Number(text) })}
            />
          </div>
          {value.type === 'number' || edit.thresholds ? (
            <fieldset>
              <legend class="field-label">{unit === '' ? say('limits') : say('limits-in', { unit })}</legend>
              <div class="field-row">
                {limits.map(limit => (
                  <Field
                    key={limit}
                    label={say(`limit.${limit}`)}
                    kind="number"
                    value={edit.thresholds?.[limit] === undefined ? '' : String(edit.thresholds[limit])}
                    length={24}
                    fault={text => (text === '' || isNumber(text) ? '' : say('number-fault'))}
                    save={text =>
                      save({ thresholds: { [limit]: text === '' ? null : numberOf(text) } } as unknown as ValuePatch)
                    }
                  />
                ))}
              </div>
              <p class="hint">{say('limits-hint')}</p>
            </fieldset>
          ) : null}
          <Check
            checked={edit.hidden === true}
            text={say('hide-value')}
            save={checked => save({ hidden: checked ? true : null })}
          />
        </div>
      </details>
    </li>
  )
}

/** Reads a number as people write it: with a point or a comma, and with either minus. */
function numberOf(text: string): number {
  return Number(text.replace(',', '.').replace('−', '-'))
}

function isNumber(text: string): boolean {
  return text !== '' && Number.isFinite(numberOf(text))
}
