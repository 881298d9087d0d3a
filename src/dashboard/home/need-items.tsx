/** Things that may wait for a person, each with the way there. */

import { useState } from 'preact/hooks'
import { type AlertRow, acknowledge, hubNow, muteAlert } from '../api.js'
import { say, sayCount } from '../texts/language.js'
import { nameText, reasonText } from '../wording.js'
import { sentenceText } from './alert-words.js'
import { addressOf } from './card-parts.js'
import type { HomeDevice } from './catalogue.js'
import { useModel } from './context.js'
import { heardOf } from './device-status.js'
import { nameOf, spanText } from './format.js'
import { Icon } from './icons.js'
import type { Outside } from './limits.js'
import type { Unstored } from './model.js'
import { Reading } from './reading.js'

const muteFor = 3_600_000

export function AlertItem({ alert }: { readonly alert: AlertRow }) {
  const model = useModel()
  const [trouble, setTrouble] = useState('')
  const [isBusy, setBusy] = useState(false)
  const act = async (what: Promise<unknown>) => {
    setBusy(true)
    setTrouble('')
    await what.catch((error: unknown) => setTrouble(say('needs.failed', { why: (error as Error).message })))
    setBusy(false)
    model.alertsChanged()
  }
  const mute = () => {
    const { rule, series, device } = alert
    const until = hubNow() + muteFor
    void act(muteAlert(device === undefined ? { rule, series, until } : { rule, device, until }))
  }
  const isFiring = alert.state === 'firing'
  return (
    <li class="need" data-level={alert.severity} data-done={!isFiring}>
      <Icon name="alert" />
      <div class="need-text">
        <p>
          <strong class="need-kind">{say(`severity.${alert.severity}`)}</strong>{' '}
          <bdi>{sentenceText(alert, model.catalogue?.devices ?? [])}</bdi>
        </p>
        <p class="hint">
          {say('needs.since', { span: spanText(hubNow() - alert.since) })}
          {isFiring || !alert.by ? '' : ` · ${say('needs.acknowledged', { user: nameText(alert.by) })}`}
        </p>
        <p class="need-trouble" role="alert">
          {trouble}
        </p>
      </div>
      <div class="need-acts">
        {isFiring ? (
          <button type="button" class="plain" disabled={isBusy} onClick={() => void act(acknowledge(alert.alert, ''))}>
            {say('needs.acknowledge')}
          </button>
        ) : null}
        {model.mayChange ? (
          <button type="button" class="plain" disabled={isBusy} onClick={mute}>
            {say('needs.mute')}
          </button>
        ) : null}
      </div>
    </li>
  )
}

export function GoneItem({ device }: { readonly device: HomeDevice }) {
  const { live } = useModel()
  const heard = heardOf(live, device)
  const name = nameText(device.name)
  const text =
    device.online === false
      ? say('needs.offline', { name })
      : heard > 0
        ? say('needs.silent', { name, span: spanText(hubNow() - heard) })
        : say('needs.silent-never', { name })
  return (
    <li class="need" data-level="silent">
      <Icon name="silent" />
      <div class="need-text">
        <p>
          <bdi>{text}</bdi>
        </p>
        {device.area || heard > 0 ? (
          <p class="hint">
            {[
              device.area && nameText(device.area),
              heard > 0 && say('needs.last', { span: spanText(hubNow() - heard) }),
            ]
              .filter(Boolean)
              .join(' · ')}
          </p>
        ) : null}
      </div>
      <div class="need-acts">
        <a class="plain" href={addressOf(device.id)}>
          {say('needs.show')}
        </a>
      </div>
    </li>
  )
}

/** A device with a value outside of the limits that people have set. */
export function OutsideItem({ device, outside }: { readonly device: HomeDevice; readonly outside: Outside }) {
  const { live } = useModel()
  const { value, side } = outside
  return (
    <li class="need" data-level={side.startsWith('very') ? 'critical' : 'warning'}>
      <Icon name="alert" />
      <div class="need-text">
        <p>
          <bdi>
            {say('needs.outside', { name: nameText(device.name), value: nameOf(value), side: say(`side.${side}`) })}
          </bdi>
        </p>
        <p class="hint">
          {device.area ? <bdi>{nameText(device.area)} · </bdi> : null}
          <Reading live={live} value={value} />
        </p>
      </div>
      <div class="need-acts">
        <a class="plain" href={addressOf(device.id)}>
          {say('needs.show')}
        </a>
      </div>
    </li>
  )
}

export function UnstoredItem({ unstored: { topic, reason, count } }: { readonly unstored: Unstored }) {
  return (
    <li class="need" data-level="unstored">
      <Icon name="unstored" />
      <div class="need-text">
        <p>
          <bdi>{sayCount('needs.not-stored', count, { topic: nameText(topic) })}</bdi>
        </p>
        <p class="hint">{reasonText(reason) || reason}</p>
      </div>
      <div class="need-acts">
        <a
          class="plain"
          href={`#explore&map&${new URLSearchParams({ topic })}`}
          aria-label={say('needs.fix-label', { topic: nameText(topic) })}
        >
          {say('needs.fix')}
        </a>
      </div>
    </li>
  )
}

export function MissingItem({ count }: { readonly count: number }) {
  return (
    <li class="need" data-level="critical">
      <Icon name="alert" />
      <div class="need-text">
        <p>{sayCount('needs.missing', count)}</p>
      </div>
      <div class="need-acts">
        <a class="plain" href="#balance">
          {say('place.delivery')}
        </a>
      </div>
    </li>
  )
}

export function FoundItem({ found }: { readonly found: readonly HomeDevice[] }) {
  const model = useModel()
  const names = found.slice(0, 3).map(({ name }) => nameText(name))
  const rest = found.length - names.length
  const listed = new Intl.ListFormat(document.documentElement.lang, { type: 'unit' }).format(names)
  const text = rest > 0 ? say('needs.found-more', { names: listed, count: rest }) : listed
  return (
    <li class="need" data-level="found">
      <Icon name="found" />
      <div class="need-text">
        <p>
          <bdi>{sayCount('needs.found', found.length, { names: text })}</bdi>
        </p>
      </div>
      <div class="need-acts">
        <button type="button" class="plain" onClick={() => model.acceptFound()}>
          {say('needs.ok')}
        </button>
      </div>
    </li>
  )
}
