import { useState } from 'preact/hooks'
import type { PartProperties } from './part.js'
import { fetchSettings, type SettingRow } from './requests.js'
import { useLoaded } from './use-loaded.js'
import { say, sayCount } from './words.js'

/** All settings in effect, with where each comes from and how to change it. They are changed in the file. */
export function All({ search }: PartProperties) {
  const { value, trouble } = useLoaded(fetchSettings)
  const [isOwnOnly, setOwnOnly] = useState(false)
  const words = search.toLowerCase().split(/\s+/).filter(Boolean)
  const fits = ({ key, help, value, source }: SettingRow) => {
    const text = `${key} ${help} ${value} ${source}`.toLowerCase()
    return (!isOwnOnly || source !== 'default') && words.every(word => text.includes(word))
  }
  const shown = value?.settings.filter(fits) ?? []
  return (
    <>
      <div class="set-head">
        <h2>{sayCount('all.count', shown.length)}</h2>
        <p class="hint">{say('all.text')}</p>
        <label class="set-choice">
          <input type="checkbox" checked={isOwnOnly} onChange={event => setOwnOnly(event.currentTarget.checked)} />
          <span>{say('all.own')}</span>
        </label>
      </div>
      <p class="set-trouble" role="alert">
        {trouble}
      </p>
      {value ? null : trouble === '' ? <p class="hint">{say('loading')}</p> : null}
      <ul class="set-list">
        {shown.map(row => (
          <Row key={row.key} row={row} />
        ))}
      </ul>
    </>
  )
}

function Row({ row }: { readonly row: SettingRow }) {
  const { key, value, fallback, source, variable, help, allowed, atOnce } = row
  const isDefault = source === 'default'
  return (
    <li class="card set-setting" data-own={!isDefault}>
      <h3>
        <code>{key}</code>
      </h3>
      <p class="set-value">
        <bdi>
          {key === 'mapping' ? <a href="#settings&part=mapping">{say('part.mapping')}</a> : value || say('all.empty')}
        </bdi>{' '}
        <span class="set-mark">{isDefault ? say('all.default') : source}</span>
        {isDefault || key === 'mapping' ? null : (
          <span class="hint">{say('all.fallback', { value: fallback || say('all.empty') })}</span>
        )}
      </p>
      <p class="hint">{help}</p>
      <details>
        <summary>{say('all.how')}</summary>
        <p>{say('all.change', { key, variable })}</p>
        <p>{say('all.allowed', { allowed })}</p>
        <p>{say(atOnce ? 'all.at-once' : 'all.restart')}</p>
      </details>
    </li>
  )
}
