import { bytesOf, textOf } from '../explore/bytes.js'
import { momentOf } from '../explore/moment.js'
import { nameText, reasonText } from '../wording.js'
import { useMapping } from './context.js'
import { decidedText } from './matches.js'
import type { RuleCheck } from './requests.js'
import { say, sayCount } from './words.js'

type Tried = RuleCheck['messages'][number]

const mostFields = 30

/** The last messages, each as it came and as the rule would store it. */
export function Preview() {
  const { check, topic } = useMapping()
  if (!check) return null
  const { messages } = check
  const stored = messages.filter(({ tried }) => isWhole(tried)).length
  const before = messages.filter(({ now }) => isWhole(now)).length
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard.
    <section class="preview card" tabIndex={0} aria-labelledby="map-preview">
      <h3 id="map-preview">{say('preview.title')}</h3>
      {topic === undefined ? null : (
        <p class="preview-topic">
          <bdi>{nameText(topic)}</bdi>
        </p>
      )}
      <p class="hint" role="status">
        {messages.length === 0
          ? say('preview.none')
          : check.mistakes.length > 0
            ? say('preview.mistakes')
            : say('preview.count', { stored, before, count: messages.length })}
      </p>
      <ul class="tried">
        {messages.map(message => (
          <Message key={`${message.sequence} ${message.letter ?? ''}`} message={message} />
        ))}
      </ul>
    </section>
  )
}

function isWhole(mapped: Tried['tried']): boolean {
  return mapped?.outcome === 'stored' && mapped.reason === undefined
}

function Message({ message }: { readonly message: Tried }) {
  const bytes = bytesOf(message.payload.slice(0, 1_200))
  const text = textOf(bytes) ?? [...bytes.subarray(0, 80)].map(byte => byte.toString(16).padStart(2, '0')).join(' ')
  const { tried, now } = message
  return (
    <li>
      <p class="tried-head">
        <span class="hint">{momentOf(message.receivedAt)}</span>
        {message.letter === undefined ? null : (
          <span class="mark" data-mark="refused">
            {say('preview.letter')}
          </span>
        )}
        {tried && tried.outcome === 'stored' ? (
          <span class="mark" data-mark="stored">
            {say('outcome.stored')}
          </span>
        ) : null}
      </p>
      <code class="tried-raw">{message.bytes === 0 ? say('preview.empty') : nameText(text.slice(0, 400))}</code>
      {tried ? <Outcome mapped={tried} /> : <Outcome mapped={now} isNow />}
    </li>
  )
}

function Outcome({ mapped, isNow = false }: { readonly mapped: Tried['now']; readonly isNow?: boolean }) {
  const { outcome, points, reason, detail, absent = [] } = mapped
  const why = `${reasonText(reason ?? '') || reason || ''}${detail ? ` — ${nameText(detail)}` : ''}`
  return (
    <div class="tried-out">
      {isNow ? <p class="hint">{say('preview.now', { by: decidedText(mapped) })}</p> : null}
      {outcome === 'dead' ? <p class="trouble">{say('outcome.dead', { why })}</p> : null}
      {outcome === 'ignored' ? <p class="hint">{say('outcome.ignored')}</p> : null}
      {outcome === 'nothing' ? (
        <p class="hint">{absent.length > 0 ? say('outcome.absent') : say('outcome.nothing')}</p>
      ) : null}
      {outcome === 'stored' && reason !== undefined ? <p class="trouble">{say('outcome.partly', { why })}</p> : null}
      {points.slice(0, 10).map(({ measurement, tags, fields }, i) => (
        <div key={i} class="point">
          <p class="point-name">
            <b>
              <bdi>{nameText(measurement)}</bdi>
            </b>{' '}
            {Object.entries(tags).map(([name, value]) => (
              <span key={name} class="point-tag">
                <bdi>{nameText(name)}</bdi>=<bdi>{nameText(value)}</bdi>{' '}
              </span>
            ))}
          </p>
          <dl>
            {fields.slice(0, mostFields).map(({ name, value, unit }) => (
              <div key={name}>
                <dt>
                  <bdi>{nameText(name)}</bdi>
                </dt>
                <dd>
                  <bdi>{nameText(String(value).slice(0, 200))}</bdi>
                  {unit === undefined ? '' : ` ${nameText(unit)}`}
                  <span class="point-type">
                    {say(`type.${typeof value === 'string' ? 'text' : (typeof value as 'number' | 'boolean')}`)}
                  </span>
                </dd>
              </div>
            ))}
          </dl>
          {fields.length > mostFields ? (
            <p class="hint">{sayCount('preview.more', fields.length - mostFields)}</p>
          ) : null}
        </div>
      ))}
    </div>
  )
}
