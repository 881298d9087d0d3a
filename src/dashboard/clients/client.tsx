import { useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { confirmed } from '../confirm.js'
import { spanText } from '../home/format.js'
import { rateText, sizeText } from '../sizes.js'
import { countText, nameText } from '../wording.js'
import { BanForm } from './ban-form.js'
import type { ClientsModel } from './model.js'
import { type ClientRow, disconnect, endSession } from './requests.js'
import { say, sayCount } from './words.js'

interface Properties {
  readonly client: ClientRow
  readonly model: ClientsModel
  readonly mayChange: boolean
}

const mostFilters = 5

/** A client: who it is, what it does, and what may be done with it. */
export function ClientItem({ client, model, mayChange }: Properties) {
  const [isBanning, setBanning] = useState(false)
  const { clientId, user, connected, address, version, listener, since, absentSince } = client
  const name = nameText(clientId)
  const state = connected
    ? say('state.connected', { span: spanText(hubNow() - (since ?? hubNow())) })
    : absentSince === undefined
      ? say('state.kept')
      : say('state.absent', { span: spanText(hubNow() - absentSince) })
  const kick = async () => {
    const words = { yes: say('disconnect'), no: say('cancel') }
    if (!(await confirmed(say('disconnect.ask', { client: name }), say('disconnect.text'), words))) return
    await model.act(() => disconnect(client).then(() => say('done.disconnected', { client: name })))
  }
  const end = async () => {
    const words = { yes: say('end'), no: say('cancel') }
    if (!(await confirmed(say('end.ask', { client: name }), say('end.text'), words))) return
    await model.act(() => endSession(client).then(() => say('done.ended', { client: name })))
  }
  return (
    <li class="card client" data-online={connected}>
      <div class="client-head">
        <span class="dot" aria-hidden="true" />
        <h3>
          <bdi>{name}</bdi>
        </h3>
        <p class="hint">
          <bdi>
            {[
              state,
              user && say('user', { user: nameText(user) }),
              address,
              version && say('mqtt', { version, listener: listener ?? '' }),
            ]
              .filter(Boolean)
              .join(' · ')}
          </bdi>
        </p>
        {mayChange ? (
          <fieldset class="client-acts" aria-label={say('acts', { client: name })}>
            {connected ? (
              <button type="button" class="plain" onClick={() => void kick()}>
                {say('disconnect')}
              </button>
            ) : null}
            <button type="button" class="plain" onClick={() => void end()}>
              {say('end')}
            </button>
            <button type="button" class="plain" onClick={() => setBanning(true)}>
              {say('ban')}
            </button>
          </fieldset>
        ) : null}
      </div>
      <Facts client={client} />
      {isBanning ? <BanForm client={client} model={model} onClose={() => setBanning(false)} /> : null}
    </li>
  )
}

function Facts({ client }: { readonly client: ClientRow }) {
  const { connected, filters, subscriptions, queued, queuedBytes, sincePublish } = client
  const { bytesInPerSecond, bytesOutPerSecond, publishesPerSecond } = client
  const shown = filters.slice(0, mostFilters)
  return (
    <dl class="facts">
      <div>
        <dt>{sayCount('subscriptions', subscriptions)}</dt>
        <dd>
          {shown.map(filter => (
            <code key={filter}>{nameText(filter)}</code>
          ))}
          {subscriptions > shown.length ? (
            <span class="hint">{sayCount('subscriptions.more', subscriptions - shown.length)}</span>
          ) : null}
        </dd>
      </div>
      <div>
        <dt>{say('queue')}</dt>
        <dd>{say('queue.value', { messages: countText(queued), bytes: sizeText(queuedBytes) })}</dd>
      </div>
      {connected ? (
        <>
          <div>
            <dt>{say('traffic')}</dt>
            <dd>{say('traffic.value', { in: sizeText(bytesInPerSecond), out: sizeText(bytesOutPerSecond) })}</dd>
          </div>
          <div>
            <dt>{say('published')}</dt>
            <dd>
              {sincePublish === undefined
                ? say('published.never')
                : say('published.value', { rate: rateText(publishesPerSecond), span: spanText(sincePublish) })}
            </dd>
          </div>
        </>
      ) : null}
    </dl>
  )
}
