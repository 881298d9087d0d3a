import { nameText } from '../wording.js'
import type { SettingsKey } from './en.js'
import { clockText, exactText } from './moments.js'
import type { AuditLine } from './requests.js'
import { say, sayCount } from './words.js'

const eventKeys: Readonly<Record<string, SettingsKey>> = {
  login: 'event.login',
  logout: 'event.logout',
  refused: 'event.refused',
  users: 'event.users',
  pairing: 'event.pairing',
  change: 'event.change',
  command: 'event.command',
  ban: 'event.ban',
  takeover: 'event.takeover',
  hub: 'event.hub',
  audit: 'event.audit',
}

/** Results that something did not happen. */
const bad = new Set(['failed', 'refused', 'damaged', 'lost', 'cut'])

/** Actions by which a user may have been refused, by their reason. */
const refusedActions: Readonly<Record<string, string>> = { publish: 'publish', subscribe: 'subscribe' }

/** A line of the audit log. The first one of a day has the day above it. */
export function AuditItem({ line, day }: { readonly line: AuditLine; readonly day: string }) {
  const { at, event, result, reason, user, address, via, client, what, detail, count, since } = line
  const time = Date.parse(at)
  const eventKey = eventKeys[event]
  const isBad = event === 'refused' || bad.has(result)
  const facts = [what, client === undefined ? undefined : say('audit.client', { client: nameText(client) }), detail]
  const action = refusedActions[reason ?? '']
  return (
    <li data-event={event}>
      {day === '' ? null : <h3 class="set-day">{day}</h3>}
      <div class="set-audit-line" data-bad={isBad}>
        <time dateTime={at} title={Number.isNaN(time) ? '' : exactText(time)}>
          {Number.isNaN(time) ? '' : clockText(time)}
        </time>
        <span class={isBad ? 'set-mark danger' : 'set-mark'}>{eventKey ? say(eventKey) : event}</span>
        <span class="set-audit-who">
          <bdi>
            {user === undefined ? (event === 'hub' || event === 'audit' ? say('audit.nobody') : '–') : nameText(user)}
          </bdi>{' '}
          <span class="hint">{[address, via].filter(Boolean).join(' · ')}</span>
        </span>
        <span class="set-audit-what">
          {facts
            .filter(fact => fact !== undefined && fact !== '')
            .map(fact => (
              <bdi key={fact}>{nameText(fact ?? '')}</bdi>
            ))}
          <span class="hint">
            {[result === 'ok' ? '' : result, reason].filter(Boolean).join(': ')}
            {count === undefined ? '' : ` ${sayCount('audit.times', count)}`}
            {since === undefined ? '' : ` ${say('audit.since', { time: clockText(Date.parse(since)) })}`}
          </span>
          {action !== undefined && user !== undefined && what !== undefined ? (
            <a
              href={`#settings&${new URLSearchParams({ part: 'explain', user, action, topic: what, ...(client && { client }) })}`}
            >
              {say('audit.why')}
            </a>
          ) : null}
        </span>
        <span class="hint set-audit-number">{line.n}</span>
      </div>
    </li>
  )
}
