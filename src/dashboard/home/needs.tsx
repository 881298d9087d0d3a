import { useState } from 'preact/hooks'
import { type AlertRow, acknowledge, hubNow, muteAlert } from '../api.js'
import { say, sayCount } from '../texts/language.js'
import { nameText, reasonText } from '../wording.js'
import { addressOf } from './card.js'
import { type HomeDevice, levels } from './catalogue.js'
import { useModel } from './context.js'
import { clockText, spanText } from './format.js'
import { Icon } from './icons.js'
import { type HomeModel, isShown, type Unstored } from './model.js'
import { heardOf } from './reading.js'

const mostAtFirst = 6
const muteFor = 3_600_000

/** What waits for a person: alerts, silent devices, topics that are not stored, new devices. */
export function Needs() {
  const model = useModel()
  const [isOpen, setOpen] = useState(false)
  if (!model.catalogue) return null
  const items = itemsOf(model)
  if (items.length === 0) return <AllWell />
  const shown = isOpen ? items : items.slice(0, mostAtFirst)
  const more = items.length - mostAtFirst
  return (
    <section class="needs" aria-labelledby="needs-title">
      <h2 id="needs-title">
        {say('needs.title')} <span class="needs-count">{sayCount('needs.count', items.length)}</span>
      </h2>
      <ul>{shown}</ul>
      {more > 0 ? (
        <button type="button" class="plain" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? say('needs.less') : sayCount('needs.more', more)}
        </button>
      ) : null}
    </section>
  )
}

function itemsOf(model: HomeModel) {
  const { alerts, catalogue, unstored, found } = model
  const devices = (catalogue?.devices ?? []).filter(isShown)
  const rank = (alert: AlertRow) => levels.indexOf(alert.severity)
  const open = alerts
    .filter(({ state, muted }) => (state === 'firing' || state === 'acknowledged') && !muted)
    .sort(
      (a, b) => Number(b.state === 'firing') - Number(a.state === 'firing') || rank(b) - rank(a) || b.since - a.since,
    )
  const told = new Set(open.map(({ device }) => device))
  const gone = devices.filter(
    device => (device.silent || device.online === false) && device.alerts === 0 && !told.has(device.id),
  )
  const missing = model.balance?.residual ?? 0
  return [
    ...open.map(alert => <AlertItem key={`alert ${alert.alert}`} alert={alert} />),
    ...(missing > 0 ? [<MissingItem key="missing" count={missing} />] : []),
    ...gone.map(device => <GoneItem key={`gone ${device.id}`} device={device} />),
    ...unstored.map(topic => <UnstoredItem key={`unstored ${topic.reason} ${topic.topic}`} unstored={topic} />),
    ...(found.length > 0 ? [<FoundItem key="found" found={found} />] : []),
  ]
}

function AlertItem({ alert }: { readonly alert: AlertRow }) {
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
          <strong class="need-kind">{say(`severity.${alert.severity}`)}</strong> <bdi>{nameText(alert.sentence)}</bdi>
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

function GoneItem({ device }: { readonly device: HomeDevice }) {
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

function UnstoredItem({ unstored: { topic, reason, count } }: { readonly unstored: Unstored }) {
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
          href={`#${new URLSearchParams({ dead: topic })}`}
          aria-label={say('needs.fix-label', { topic: nameText(topic) })}
        >
          {say('needs.fix')}
        </a>
      </div>
    </li>
  )
}

function MissingItem({ count }: { readonly count: number }) {
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

function FoundItem({ found }: { readonly found: readonly HomeDevice[] }) {
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

/** One sentence with numbers: only what is known to be well is said. */
function AllWell() {
  const { catalogue, balance } = useModel()
  const there = (catalogue?.devices ?? []).filter(device => isShown(device) && device.lastSeen > 0).length
  if (there === 0) return null
  const [hour] = balance?.hours ?? []
  const isStored = balance !== undefined && balance.dead === 0 && balance.residual === 0
  const parts = [
    sayCount('well.devices', there),
    ...(hour ? [sayCount('messages', hour.received, { time: clockText(hour.hour) })] : []),
    ...(isStored ? [say('well.stored')] : []),
  ]
  return (
    <p class="all-well" role="status">
      <Icon name="well" />
      <span>
        <strong>{say('well.title')}.</strong> {parts.join(' · ')}
      </span>
    </p>
  )
}
