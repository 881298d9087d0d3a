import { type AlertRow, hubNow } from '../api.js'
import { say } from '../texts/language.js'
import { nameText } from '../wording.js'
import { sentenceText } from './alert-words.js'
import { type HomeDevice, type HomeValue, keyOf, withWords } from './catalogue.js'
import { useModel } from './context.js'
import { Control } from './control.js'
import { Status } from './device-status.js'
import { nameOf, spanText } from './format.js'
import { Icon } from './icons.js'
import { newestOrder } from './orders.js'
import { Reading } from './reading.js'
import { Receipt } from './receipt.js'
import { SheetDialog } from './sheet-dialog.js'
import { Star } from './star.js'
import { useWholeDevice } from './whole-device.js'

const roles = [
  ['value', 'sheet.main'],
  ['diagnostic', 'sheet.diagnostic'],
  ['config', 'sheet.config'],
] as const

/** All that is known of one device, over the page behind. Escape closes it, and so does the back button. */
export function Sheet({ device, onClose }: { readonly device: HomeDevice; readonly onClose: () => void }) {
  const model = useModel()
  const whole = useWholeDevice(device.id, model.catalogue?.revision)
  const shown = whole?.id === device.id ? whole : device
  const values = shown.values.filter(({ hidden }) => !hidden).map(value => withWords(value, shown))
  const series = new Set(shown.values.flatMap(value => value.series ?? []))
  const names = [shown.id, shown.client]
  const alerts = model.alerts.filter(
    ({ device: of, series: key, state }) =>
      (state === 'firing' || state === 'acknowledged') && (series.has(key) || (of !== undefined && names.includes(of))),
  )
  return (
    <SheetDialog
      titleId="sheet-title"
      closeName={say('sheet.close')}
      level={model.levelOf(shown)}
      onClose={onClose}
      head={
        <>
          <span class="thing-icon">
            <Icon name={shown.icon ?? shown.class} size={26} />
          </span>
          <div class="thing-title">
            <h2 id="sheet-title">
              <bdi>{nameText(shown.name)}</bdi>
            </h2>
            <Status live={model.live} device={shown} />
          </div>
          <Star device={shown} isFavourite={model.favourites.includes(shown.id)} isActive />
        </>
      }
    >
      <Alerts alerts={alerts} device={device} />
      {shown.controls.length > 0 ? (
        <section class="sheet-part">
          <h3>{say('sheet.controls')}</h3>
          <div class="sheet-controls">
            {shown.controls.map(control => (
              <Control key={`${control.topic} ${control.name}`} control={control} device={shown.name} />
            ))}
          </div>
          {newestOrder(shown, control => model.orders.of(control)) ? <Receipt controls={shown.controls} /> : null}
        </section>
      ) : null}
      {roles.map(([role, title]) => {
        const of = values.filter(value => value.role === role)
        return of.length === 0 ? null : (
          <section class="sheet-part" key={role}>
            <h3>{say(title)}</h3>
            <ul class="sheet-values">
              {of.map(value => (
                <ValueRow key={keyOf(value)} value={value} />
              ))}
            </ul>
          </section>
        )
      })}
      <Facts device={shown} />
    </SheetDialog>
  )
}

function ValueRow({ value }: { readonly value: HomeValue }) {
  const { live, mayChange, isShared } = useModel()
  const name = nameOf(value)
  return (
    <li class="sheet-value">
      {value.series === undefined || isShared ? (
        <span class="sheet-name">{name}</span>
      ) : (
        <a
          class="sheet-name"
          href={`#${new URLSearchParams({ series: value.series })}`}
          aria-label={say('sheet.chart', { name })}
        >
          {name}
          <Icon name="chart" size={16} />
        </a>
      )}
      <Reading live={live} value={value} />
      {value.series === undefined || !mayChange ? null : (
        <a
          class="icon sheet-alert"
          href={`#alerts&${new URLSearchParams({ new: '', topic: value.topic, field: value.field })}`}
          aria-label={say('sheet.alert', { name })}
          title={say('sheet.alert', { name })}
        >
          <Icon name="bell" size={18} />
        </a>
      )}
    </li>
  )
}

function Alerts({ alerts, device }: { readonly alerts: readonly AlertRow[]; readonly device: HomeDevice }) {
  if (alerts.length === 0) return null
  return (
    <section class="sheet-part">
      <h3>{say('sheet.alerts')}</h3>
      <ul class="sheet-alerts">
        {alerts.map(row => (
          <li key={row.alert} data-level={row.severity}>
            <strong>{say(`severity.${row.severity}`)}</strong> <bdi>{sentenceText(row, [device])}</bdi>{' '}
            <span class="hint">{say('needs.since', { span: spanText(hubNow() - row.since) })}</span>
          </li>
        ))}
      </ul>
    </section>
  )
}

function Facts({ device }: { readonly device: HomeDevice }) {
  const { area, manufacturer, model, version, id } = device
  const facts: readonly (readonly [name: string, text: string | undefined])[] = [
    [say('sheet.area'), area],
    [say('sheet.model'), [manufacturer, model, version].filter(Boolean).join(' ') || undefined],
    [say('sheet.id'), id],
  ]
  return (
    <dl class="sheet-facts">
      {facts.map(([name, text]) =>
        text === undefined ? null : (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <bdi>{nameText(text)}</bdi>
            </dd>
          </div>
        ),
      )}
    </dl>
  )
}
