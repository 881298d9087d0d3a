import { useState } from 'preact/hooks'
import { endSubscription, fetchPush } from '../api.js'
import { nameText } from '../wording.js'
import { momentText } from './moments.js'
import { fetchNotify, type NotifyAnswer, testTarget } from './requests.js'
import { useLoaded } from './use-loaded.js'
import { say, sayCount } from './words.js'

/** Receivers of alerts: the targets, with a test of each, the routes to them, and the browsers of this user. */
export function Notify() {
  const { value, trouble, again } = useLoaded(fetchNotify)
  const push = useLoaded(fetchPush)
  const end = async (id: string) => {
    await endSubscription(id).catch(() => {})
    push.again()
  }
  return (
    <>
      <div class="set-head">
        <h2>{value ? sayCount('notify.count', value.targets.length) : say('part.notify')}</h2>
        <p class="hint">{say('notify.text')}</p>
      </div>
      <p class="set-trouble" role="alert">
        {trouble || push.trouble}
      </p>
      <ul class="set-list">
        {(value?.targets ?? []).map(target => (
          <Target key={target.target} target={target} onTested={again} />
        ))}
      </ul>
      <section class="card" aria-labelledby="routes-title">
        <h2 id="routes-title">{say('notify.routes')}</h2>
        {value?.routes.length === 0 ? <p class="hint">{say('notify.no-routes')}</p> : null}
        <ul class="set-rules">
          {(value?.routes ?? []).map(({ severity, states, targets }) => (
            <li key={`${severity} ${states} ${targets}`}>
              <bdi>{`${severity.join(', ')} · ${states.join(', ')} → ${targets.map(nameText).join(', ')}`}</bdi>
            </li>
          ))}
        </ul>
        <p>
          <a href="#alerts&view=notify">{say('notify.more')}</a>
        </p>
      </section>
      <section class="card" aria-labelledby="browsers-title">
        <h2 id="browsers-title">{say('notify.browsers')}</h2>
        {push.value?.subscriptions.length === 0 ? <p class="hint">{say('notify.no-browsers')}</p> : null}
        <ul class="set-rules">
          {(push.value?.subscriptions ?? []).map(({ id, created, agent }) => (
            <li key={id}>
              <bdi>{nameText(agent)}</bdi> <span class="hint">{momentText(created)}</span>
              <button type="button" class="plain" onClick={() => void end(id)}>
                {say('notify.end')}
              </button>
            </li>
          ))}
        </ul>
      </section>
    </>
  )
}

interface TargetProperties {
  readonly target: NotifyAnswer['targets'][number]
  readonly onTested: () => void
}

function Target({ target: { target: name, type, sent, waiting, trouble }, onTested }: TargetProperties) {
  const [answer, setAnswer] = useState('')
  const [isBusy, setBusy] = useState(false)
  const test = async () => {
    setBusy(true)
    setAnswer('')
    setAnswer(
      await testTarget(name).then(
        ({ sent }) => sayCount('notify.tested', sent),
        (error: unknown) => say('failed', { why: (error as Error).message }),
      ),
    )
    setBusy(false)
    onTested()
  }
  return (
    <li class="card set-line" data-target={name}>
      <bdi class="set-name">{nameText(name)}</bdi>
      <span class="set-mark">{type}</span>
      <span class="hint set-grow">
        {sayCount('notify.sent', sent)}
        {waiting > 0 ? ` · ${sayCount('notify.waiting', waiting)}` : ''}
      </span>
      {type === 'removed' ? null : (
        <button
          type="button"
          class="plain"
          disabled={isBusy}
          aria-label={say('notify.test-label', { target: nameText(name) })}
          onClick={() => void test()}
        >
          {say('notify.test')}
        </button>
      )}
      {trouble === undefined ? null : (
        <p class="set-trouble">
          <bdi>{nameText(trouble)}</bdi>
        </p>
      )}
      <p role="status" class="set-answer">
        {answer}
      </p>
    </li>
  )
}
