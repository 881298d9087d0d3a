import { useMapping } from './context.js'
import { othersOf, textOf, withKey } from './draft.js'
import { Mistake } from './mistake.js'
import { say } from './words.js'

const decoders = ['json', 'value', 'line', 'senml', 'cbor', 'msgpack', 'gzip', 'zlib'] as const

/** How payloads are read, and how often values are stored. */
export function More() {
  const model = useMapping()
  const { rule = {} } = model
  const edit = (key: string, value: unknown) => model.edit(withKey(rule, key, value))
  const others = othersOf(rule)
  const isUsed = ['decoder', 'decimalComma', 'onChange', 'every'].some(key => rule[key] !== undefined)
  return (
    <details class="more" open={isUsed}>
      <summary>{say('more')}</summary>
      <label class="mapping-line">
        <span>{say('decoder')}</span>
        <select value={textOf(rule, 'decoder')} onChange={event => edit('decoder', event.currentTarget.value)}>
          <option value="">{say('decoder.any')}</option>
          {decoders.map(name => (
            <option key={name} value={name}>
              {say(`decoder.${name}`)}
            </option>
          ))}
        </select>
      </label>
      <Mistake of="decoder" />
      <label class="toggle">
        <input
          type="checkbox"
          checked={rule.decimalComma === true}
          onChange={event => edit('decimalComma', event.currentTarget.checked)}
        />
        {say('comma')}
      </label>
      <label class="toggle">
        <input
          type="checkbox"
          checked={rule.onChange !== undefined && rule.onChange !== false}
          onChange={event => edit('onChange', event.currentTarget.checked)}
        />
        {say('on-change')}
      </label>
      <label class="mapping-line">
        <span>{say('every')}</span>
        <input
          value={textOf(rule, 'every')}
          placeholder="10s"
          aria-describedby="mistake-every"
          onInput={event => edit('every', event.currentTarget.value.trim())}
        />
      </label>
      <Mistake of="every" />
      {others.length > 0 ? <p class="hint">{say('others', { keys: others.join(', ') })}</p> : null}
    </details>
  )
}
