import { useState } from 'preact/hooks'
import type { AlertRow } from '../api.js'
import { say, sayCount } from '../texts/language.js'
import { levels } from './catalogue.js'
import { useModel } from './context.js'
import { clockText } from './format.js'
import { Icon } from './icons.js'
import { type HomeModel, isShown } from './model.js'
import { AlertItem, FoundItem, GoneItem, MissingItem, OutsideItem, UnstoredItem } from './need-items.js'

const mostAtFirst = 6

/** Things that wait for a person: alerts, silent devices, topics that are not stored, new devices. */
export function Needs() {
  const model = useModel()
  const [isOpen, setOpen] = useState(false)
  if (!model.catalogue) return null
  const items = itemsOf(model)
  if (items.length === 0) return <AllWell />
  const shown = (isOpen ? items : items.slice(0, mostAtFirst)).map(make => make())
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

/** Returns what makes each item: of very many only the first ones are shown. */
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
  const outside = devices.flatMap(device => {
    const found = model.limits.of(device.id)
    return found && device.alerts === 0 && !told.has(device.id) ? [{ device, outside: found }] : []
  })
  const missing = model.balance?.residual ?? 0
  return [
    ...open.map(alert => () => <AlertItem key={`alert ${alert.alert}`} alert={alert} />),
    ...(missing > 0 ? [() => <MissingItem key="missing" count={missing} />] : []),
    ...outside.map(one => () => <OutsideItem key={`outside ${one.device.id}`} {...one} />),
    ...gone.map(device => () => <GoneItem key={`gone ${device.id}`} device={device} />),
    ...unstored.map(topic => () => <UnstoredItem key={`unstored ${topic.reason} ${topic.topic}`} unstored={topic} />),
    ...(found.length > 0 ? [() => <FoundItem key="found" found={found} />] : []),
  ]
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
