import { hubNow } from '../api.js'
import { confirmed } from '../confirm.js'
import { momentText, nameText } from '../wording.js'
import { placeText, useMapping } from './context.js'
import { textOf } from './draft.js'
import type { Rule, Rules } from './requests.js'
import { say, sayCount } from './words.js'

type Listed = Rules['rules'][number]

/** All rules in the order in which they are asked, and the changes of those that the hub keeps. */
export function RuleList() {
  const model = useMapping()
  const { rules, failure, isBusy, mayChange } = model
  if (!rules)
    return (
      <p class={failure === '' ? 'hint' : 'trouble'}>
        {failure === '' ? say('loading') : say('failed', { why: failure })}
      </p>
    )
  const own = rules.rules.filter(({ place }) => place.from === 'hub')
  const given = rules.rules.filter(({ place }) => place.from === 'settings')
  const [last] = rules.changes
  return (
    <div class="rules">
      <h2>{say('rules.title')}</h2>
      <p class="hint">{say('rules.hint')}</p>
      {failure === '' ? null : (
        <p class="trouble" role="alert">
          {say('failed', { why: failure })}
        </p>
      )}
      {rules.mistakes.map(mistake => (
        <p key={mistake} class="trouble">
          {mistake}
        </p>
      ))}
      <section class="card" aria-labelledby="rules-own">
        <h3 id="rules-own">{sayCount('rules.own', own.length)}</h3>
        {own.length === 0 ? <p class="hint">{say('rules.none')}</p> : null}
        <ol>
          {own.map(one => (
            <Row key={JSON.stringify(one.rule)} listed={one} isLast={one.place.number === own.length} />
          ))}
        </ol>
        {mayChange && last && rules.undo > 0 ? (
          <p class="rules-undo">
            <button type="button" class="plain" disabled={isBusy} onClick={() => void model.undo()}>
              {say('undo')}
            </button>
            <span class="hint">
              {say('undo.what', {
                what: nameText(last.what),
                by: nameText(last.by) || say('undo.somebody'),
                when: momentText(last.at, hubNow()),
              })}
            </span>
          </p>
        ) : null}
      </section>
      <section class="card" aria-labelledby="rules-given">
        <h3 id="rules-given">{sayCount('rules.given', given.length)}</h3>
        <p class="hint">{say('rules.given-hint')}</p>
        <ol>
          {given.map(one => (
            <Row key={JSON.stringify(one.rule)} listed={one} isLast />
          ))}
        </ol>
      </section>
    </div>
  )
}

function Row({ listed: { place, rule }, isLast }: { readonly listed: Listed; readonly isLast: boolean }) {
  const model = useMapping()
  const { isBusy, mayChange } = model
  const topic = textOf(rule, 'topic')
  const at = place.number - 1
  const moved = (by: number) => (all: readonly Rule[]) => {
    const next = [...all]
    next.splice(at + by, 0, ...next.splice(at, 1))
    return next
  }
  const remove = async () => {
    const sure = { yes: say('remove'), no: say('cancel') }
    if (await confirmed(say('remove.ask'), say('remove.text', { topic: nameText(topic) }), sure))
      await model.change(all => all.filter((_, i) => i !== at))
  }
  return (
    <li class="rule">
      <span class="rule-place">{placeText(place)}</span>
      <span class="rule-text">
        <b>
          <bdi>{nameText(topic)}</bdi>
        </b>
        <span class="hint">
          {rule.ignore === true
            ? say('rule.ignored')
            : say('rule.measurement', { measurement: nameText(textOf(rule, 'measurement')) })}
        </span>
      </span>
      {place.from === 'hub' && mayChange ? (
        <span class="rule-acts">
          <button
            type="button"
            class="plain"
            disabled={isBusy || at === 0}
            aria-label={say('up.label', { topic })}
            onClick={() => void model.change(moved(-1))}
          >
            ↑
          </button>
          <button
            type="button"
            class="plain"
            disabled={isBusy || isLast}
            aria-label={say('down.label', { topic })}
            onClick={() => void model.change(moved(1))}
          >
            ↓
          </button>
          <a class="plain" href={`#explore&map&rule=${place.number}`} aria-label={say('edit.label', { topic })}>
            {say('edit')}
          </a>
          <button
            type="button"
            class="plain danger"
            disabled={isBusy}
            aria-label={say('remove.label', { topic })}
            onClick={() => void remove()}
          >
            {say('remove')}
          </button>
        </span>
      ) : null}
    </li>
  )
}
