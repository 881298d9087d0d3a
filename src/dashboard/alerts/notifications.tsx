import { useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import { useAlerts } from './context.js'
import type { AlertsKey } from './en.js'
import { type NotifyRoute, type NotifyTarget, testTarget } from './requests.js'
import { ThisBrowser } from './this-browser.js'
import { weekText } from './week-text.js'
import { momentText, spanText } from './when.js'
import { say, sayCount } from './words.js'

/** Receivers of alerts: this browser, the targets and how they do, and the routes to them. */
export function Notifications() {
  const { notify } = useAlerts()
  return (
    <>
      <ThisBrowser />
      {notify === 'denied' ? <p class="hint">{say('notify.denied')}</p> : null}
      {notify === undefined ? <p class="hint">{say('loading')}</p> : null}
      {typeof notify === 'object' ? (
        <>
          <section class="alerts-group" aria-labelledby="targets-title">
            <h2 id="targets-title">{say('notify.targets')}</h2>
            {notify.targets.length === 0 ? <p class="hint">{say('notify.no-targets')}</p> : null}
            <ul>
              {notify.targets.map(target => (
                <Target key={target.target} target={target} />
              ))}
            </ul>
            <p class="hint">{say('notify.file')}</p>
          </section>
          <section class="alerts-group" aria-labelledby="routes-title">
            <h2 id="routes-title">{say('notify.routes')}</h2>
            <ul>
              {notify.routes.map(route => (
                <Route key={JSON.stringify(route)} route={route} />
              ))}
            </ul>
          </section>
        </>
      ) : null}
    </>
  )
}

const types: Readonly<Record<string, AlertsKey>> = {
  'web-push': 'type.web-push',
  email: 'type.email',
  webhook: 'type.webhook',
  mqtt: 'type.mqtt',
  removed: 'type.removed',
}

function Target({ target }: { readonly target: NotifyTarget }) {
  const model = useAlerts()
  const [answer, setAnswer] = useState<{ readonly isGood: boolean; readonly text: string }>()
  const [isBusy, setBusy] = useState(false)
  const { target: name, type, waiting, sent, failed, givenUp, trouble, since } = target
  const test = async () => {
    setBusy(true)
    setAnswer(undefined)
    try {
      const { sent: receivers } = await testTarget(name)
      setAnswer({ isGood: true, text: sayCount('notify.tested', receivers) })
    } catch (error) {
      setAnswer({ isGood: false, text: say('notify.test-failed', { why: (error as Error).message }) })
    }
    setBusy(false)
    await model.refreshNotify()
  }
  const facts = [
    sayCount('notify.sent', sent),
    ...(waiting > 0 ? [sayCount('notify.waiting', waiting)] : []),
    ...(failed > 0 ? [sayCount('notify.failed', failed)] : []),
    ...(givenUp > 0 ? [sayCount('notify.given-up', givenUp)] : []),
  ]
  const typeKey = types[type]
  return (
    <li class="alerts-item" data-target={name} data-trouble={trouble !== undefined}>
      <div class="alerts-main">
        <p class="alerts-sentence">
          <strong>
            <bdi>{nameText(name)}</bdi>
          </strong>{' '}
          <span class="hint">{typeKey ? say(typeKey) : nameText(type)}</span>
        </p>
        <p class="alerts-facts hint">
          {facts.map(fact => (
            <span key={fact}>{fact}</span>
          ))}
        </p>
        {trouble === undefined ? null : (
          <p class="alerts-trouble">
            {since === undefined ? say('notify.trouble') : say('notify.trouble-since', { time: momentText(since) })}{' '}
            <bdi>{nameText(trouble)}</bdi>
          </p>
        )}
        <p class={answer?.isGood ? 'alerts-good' : 'alerts-trouble'} role="status">
          {answer?.text}
        </p>
      </div>
      {type === 'removed' ? null : (
        <div class="alerts-acts">
          <button
            type="button"
            class="plain"
            disabled={isBusy}
            aria-label={say('notify.test-label', { target: nameText(name) })}
            onClick={() => void test()}
          >
            {isBusy ? say('notify.testing') : say('notify.test')}
          </button>
        </div>
      )}
    </li>
  )
}

function Route({ route }: { readonly route: NotifyRoute }) {
  const { severity, states, when, targets, group, escalate } = route
  const or = ` ${say('or')} `
  const parts = [
    say('route.what', {
      severities: severity.map(one => say(`severity.${one}`)).join(', '),
      states: states.map(one => say(`state.${one}`)).join(', '),
      when: when.length === 0 ? say('when.always') : when.map(weekText).join(or),
      targets: targets.map(nameText).join(', '),
    }),
    ...(group > 0 ? [say('route.group', { span: spanText(group) })] : []),
    ...escalate.map(({ after, to }) =>
      say('route.later', { span: spanText(after), targets: to.map(nameText).join(', ') }),
    ),
  ]
  return (
    <li class="alerts-line">
      <bdi>{parts.join(' ')}</bdi>
    </li>
  )
}
