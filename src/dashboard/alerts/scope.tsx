import { nameText } from '../wording.js'
import { type Definition, isAboutDevices, type SeriesName, selectorKeys, seriesName, withKeys } from './definition.js'
import type { EditModel } from './edit-model.js'
import { iconName, quantityName } from './rule-words.js'
import { say, sayCount } from './words.js'

interface Choice {
  readonly id: string
  readonly text: string
  readonly select: Definition
}

const nothing: Definition = Object.fromEntries(selectorKeys.map(key => [key, undefined]))

/** Returns how wide a rule may be that began with one value: that one, all of a tag, of names, or any. */
function choicesOf({ device, value: began }: NonNullable<EditModel['began']>, name: SeriesName): readonly Choice[] {
  const { measurement, tags, field } = name
  const quantity = began.class
  const value = { field }
  const said = quantityName(field)
  return [
    {
      id: 'one',
      text: say('scope.only', { device: nameText(device.name) }),
      select: { measurement, field, ...(Object.keys(tags).length > 0 && { tags }) },
    },
    // The device is the first choice, and a topic is too narrow to be another.
    ...Object.entries(tags)
      .filter(([tag]) => tag !== 'device' && tag !== 'topic')
      .map(([tag, text]) => ({
        id: `tag ${tag}`,
        text: say('scope.tag', { value: said, tag: nameText(tag), text: nameText(text) }),
        select: { ...value, tags: { [tag]: text } },
      })),
    ...(device.area === undefined
      ? []
      : [
          {
            id: 'area',
            text: say('scope.area', { value: said, area: nameText(device.area) }),
            select: { ...value, area: device.area },
          },
        ]),
    {
      id: 'icon',
      text: say('scope.icon', { value: said, icon: iconName(device.icon ?? device.class) }),
      select: { ...value, icon: device.icon ?? device.class },
    },
    { id: 'any', text: say('scope.any', { value: said }), select: value },
    // The class of a rule is what discovery says; that of the catalogue may come from elsewhere, and then selects nothing.
    ...(quantity === undefined
      ? []
      : [{ id: 'class', text: say('scope.class', { name: quantityName(quantity) }), select: { class: quantity } }]),
  ]
}

function same(rule: Definition, select: Definition): boolean {
  const chosen = (of: Definition) => JSON.stringify(selectorKeys.map(key => of[key] ?? null))
  return chosen(rule) === chosen(select)
}

/** How wide the rule is, what it selects now, and the selection as it is written. */
export function Scope({ edit }: { readonly edit: EditModel }) {
  const { rule, kind, began } = edit
  const name = seriesName(began?.value.series ?? '')
  const choices = name && began && !isAboutDevices(kind) ? choicesOf(began, name) : []
  return (
    <>
      {choices.length > 0 ? (
        <fieldset class="scope">
          <legend>{say('scope.title')}</legend>
          {choices.map(({ id, text, select }) => (
            <label key={id} class="alerts-choice">
              <input
                type="radio"
                name="scope"
                checked={same(rule, select)}
                onChange={() => edit.replace(withKeys(rule, { ...nothing, ...select }))}
              />
              <bdi>{text}</bdi>
            </label>
          ))}
        </fieldset>
      ) : null}
      <Matches edit={edit} />
      <details class="scope-exact">
        <summary>{say('scope.exact')}</summary>
        <Exact edit={edit} />
      </details>
    </>
  )
}

/** How many series or devices the rule selects now, and which. */
export function Matches({ edit }: { readonly edit: EditModel }) {
  const { kind } = edit
  const { check, checkFailure } = edit.trial
  if (checkFailure !== '') return <p class="alerts-trouble">{say('failed', { why: checkFailure })}</p>
  if (!check || !kind || kind === 'hub') return null
  const { count, selected, incomplete } = check
  const stem = isAboutDevices(kind) ? 'matches.devices' : 'matches.values'
  return (
    <details class="matches" open={false}>
      <summary>
        {sayCount(stem, count)}
        {incomplete ? ` ${say('matches.incomplete')}` : ''}
      </summary>
      <ul>
        {selected.map(({ series, label }) => (
          <li key={series}>
            <bdi>{nameText(label)}</bdi> <span class="hint">{nameText(series)}</span>
          </li>
        ))}
        {count > selected.length ? <li class="hint">{sayCount('matches.more', count - selected.length)}</li> : null}
      </ul>
    </details>
  )
}

/** The names that select, as the file has them. A star is any text; a comma separates several. */
function Exact({ edit }: { readonly edit: EditModel }) {
  const { rule, kind } = edit
  const listText = (given: unknown) => (given === undefined ? '' : [given].flat().map(String).join(', '))
  const listOf = (text: string) => {
    const names = text
      .split(',')
      .map(one => one.trim())
      .filter(Boolean)
    return names.length === 0 ? undefined : names.length === 1 ? names[0] : names
  }
  const tags = typeof rule.tags === 'object' && rule.tags !== null ? Object.entries(rule.tags) : []
  const tagsText = tags.map(([name, value]) => `${name}=${listText(value).replaceAll(', ', '|')}`).join(', ')
  const keys = isAboutDevices(kind)
    ? (['device'] as const)
    : (['measurement', 'field', 'class', 'device', 'area', 'icon'] as const)
  return (
    <div class="exact">
      <p class="hint">{say('scope.stars')}</p>
      {keys.map(key => (
        <div class="exact-name" key={key}>
          <span>{say(`selector.${key}`)}</span>
          <LazyText
            label={say(`selector.${key}`)}
            value={listText(rule[key])}
            onText={text => edit.set({ [key]: listOf(text) })}
          />
        </div>
      ))}
      {isAboutDevices(kind) ? null : (
        <div class="exact-name">
          <span>{say('selector.tags')}</span>
          <LazyText
            label={say('selector.tags')}
            value={tagsText}
            onText={text => {
              const pairs = text.split(',').flatMap(pair => {
                const [name = '', ...value] = pair.split('=')
                const values = value
                  .join('=')
                  .split('|')
                  .map(one => one.trim())
                  .filter(Boolean)
                return name.trim() === '' || values.length === 0
                  ? []
                  : [[name.trim(), values.length === 1 ? values[0] : values]]
              })
              edit.set({ tags: pairs.length > 0 ? Object.fromEntries(pairs) : undefined })
            }}
          />
        </div>
      )}
    </div>
  )
}

interface LazyProperties {
  readonly label: string
  readonly value: string
  readonly onText: (text: string) => void
}

/** A text that counts when the field is left, as half a name selects nothing. */
function LazyText({ label, value, onText }: LazyProperties) {
  return <input type="text" aria-label={label} value={value} onChange={event => onText(event.currentTarget.value)} />
}
