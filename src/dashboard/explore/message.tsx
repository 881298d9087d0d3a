import { locale } from '../texts/language.js'
import { nameText } from '../wording.js'
import { bytesOf, textOf } from './bytes.js'
import { type Change, changesBetween } from './json-lines.js'
import { MappedView } from './mapped.js'
import { momentOf } from './moment.js'
import { Payload } from './payload.js'
import type { TopicMessage } from './requests.js'
import { say, sayCount } from './words.js'

const counts = new Intl.NumberFormat(locale)
const mostChanges = 50
/** Longest value in the list of differences. */
const longest = 300

interface Properties {
  readonly message: TopicMessage
  readonly before: TopicMessage | undefined
}

/** One message in full: payload, what is different, what the hub makes of it, and its properties. */
export function MessageDetail({ message, before }: Properties) {
  const bytes = bytesOf(message.payload)
  const text = textOf(bytes)
  const old = before && textOf(bytesOf(before.payload))
  const changes = before && text !== undefined && old !== undefined ? changesBetween(old, text) : undefined
  const marked = new Map(changes?.map(({ path, kind }) => [path, kind]))
  return (
    <div class="message">
      <Payload bytes={bytes} text={text} isCut={bytes.length < message.bytes} marked={marked} />
      <MappedView mapped={message.mapped} />
      <section>
        <h3>{say('diff.title')}</h3>
        {!before ? (
          <p class="hint">{say('diff.first')}</p>
        ) : before.payload === message.payload ? (
          <p class="hint">{say('diff.same')}</p>
        ) : (
          <Changes changes={changes ?? [{ kind: 'changed', path: '', before: before.payload, now: message.payload }]} />
        )}
      </section>
      <Facts message={message} />
    </div>
  )
}

const signs = { added: '+', removed: '−', changed: '~' } as const

function Changes({ changes }: { readonly changes: readonly Change[] }) {
  const rest = changes.length - mostChanges
  return (
    <>
      <ul class="changes">
        {changes.slice(0, mostChanges).map(({ kind, path, before, now }) => (
          <li key={path} data-kind={kind}>
            <span class="change-sign" aria-hidden="true">
              {signs[kind]}
            </span>
            <span class="change-kind">{say(`diff.${kind}`)}</span>
            <code>{path === '' ? say('diff.text') : nameText(path)}</code>
            <span class="change-values">
              {kind === 'added' ? null : (
                <del>
                  <bdi>{nameText(before.slice(0, longest))}</bdi>
                </del>
              )}
              {kind === 'changed' ? <span aria-hidden="true"> → </span> : null}
              {kind === 'removed' ? null : (
                <ins>
                  <bdi>{nameText(now.slice(0, longest))}</bdi>
                </ins>
              )}
            </span>
          </li>
        ))}
      </ul>
      {rest > 0 ? <p class="hint">{sayCount('diff.many', rest)}</p> : null}
    </>
  )
}

function Facts({ message }: { readonly message: TopicMessage }) {
  const yes = (is: boolean) => say(is ? 'message.yes' : 'message.no')
  const facts: (readonly [name: string, value: string | undefined])[] = [
    [say('mapped.time'), momentOf(message.receivedAt)],
    [say('message.client'), nameText(message.clientId)],
    [say('message.user'), message.user ? nameText(message.user) : undefined],
    [say('message.qos'), String(message.qos)],
    [say('message.retain'), yes(message.retain)],
    [say('message.bytes'), say('message.bytes-value', { count: counts.format(message.bytes) })],
    [say('message.sequence'), String(message.sequence)],
    [say('message.content-type'), message.contentType && nameText(message.contentType)],
    [say('message.response-topic'), message.responseTopic && nameText(message.responseTopic)],
    [say('message.correlation'), message.correlationData],
    [say('message.expires'), message.expiresAt === undefined ? undefined : momentOf(message.expiresAt)],
    [say('message.format'), message.payloadFormat === undefined ? undefined : yes(message.payloadFormat === 1)],
    ...(message.userProperties ?? []).map(([name, value]) => [nameText(name), nameText(value)] as const),
  ]
  return (
    <section>
      <h3>{say('message.facts')}</h3>
      <dl class="facts">
        {facts.map(([name, value], i) =>
          value === undefined ? null : (
            <div key={i}>
              <dt>{name}</dt>
              <dd>
                <bdi>{value}</bdi>
              </dd>
            </div>
          ),
        )}
      </dl>
    </section>
  )
}
