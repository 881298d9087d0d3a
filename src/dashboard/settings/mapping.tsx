import { nameText } from '../wording.js'
import { fetchMapping, fetchSettings } from './requests.js'
import { useLoaded } from './use-loaded.js'
import { say, sayCount } from './words.js'

/** The rules by which messages become readings, in the order in which they are tried. They are changed in Explore. */
export function Mapping() {
  const { value, trouble } = useLoaded(fetchMapping)
  const { value: all } = useLoaded(fetchSettings)
  const off = all?.settings.find(({ key }) => key === 'presets.off')?.value ?? ''
  return (
    <>
      <div class="set-head">
        <h2>{value ? sayCount('mapping.count', value.rules.length) : say('part.mapping')}</h2>
        <p class="hint">{say('mapping.text')}</p>
        <a class="plain strong" href="#explore&rules">
          {say('mapping.edit')}
        </a>
      </div>
      <p class="set-trouble" role="alert">
        {trouble}
      </p>
      {value ? null : trouble === '' ? <p class="hint">{say('loading')}</p> : null}
      {value && value.mistakes.length > 0 ? (
        <div class="set-warning">
          {value.mistakes.map(mistake => (
            <p key={mistake}>
              <bdi>{mistake}</bdi>
            </p>
          ))}
        </div>
      ) : null}
      <ol class="set-list set-numbered">
        {(value?.rules ?? []).map(({ rule, place }) => {
          const { topic, ...more } = rule as Readonly<Record<string, unknown>>
          return (
            <li key={`${place.from} ${place.number}`} class="card">
              <code class="set-rule">{nameText(String(topic ?? ''))}</code>
              <p>
                <code>{JSON.stringify(more)}</code>
              </p>
              <p class="hint">
                {place.from === 'hub' ? say('mapping.hub', { file: value?.file ?? '' }) : say('mapping.settings')}
              </p>
            </li>
          )
        })}
      </ol>
      <section class="card" aria-labelledby="presets-title">
        <h2 id="presets-title">{say('mapping.presets')}</h2>
        <p>{off === '' ? say('mapping.presets-on') : say('mapping.presets-off', { names: off })}</p>
      </section>
    </>
  )
}
