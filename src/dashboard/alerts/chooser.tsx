import { useEffect, useRef, useState } from 'preact/hooks'
import type { HomeDevice, HomeValue } from '../home/catalogue.js'
import { nameOf } from '../home/format.js'
import { nameText } from '../wording.js'
import { isAboutDevices, seriesName } from './definition.js'
import type { EditModel } from './edit-model.js'
import { findValues } from './requests.js'
import { Scope } from './scope.js'
import { say, sayCount } from './words.js'

interface Properties {
  readonly edit: EditModel
  readonly onClose: () => void
  /** Called with the series that is chosen as the other one of a comparison. Left out: what is watched is chosen. */
  readonly onOther?: (series: string) => void
}

const mostDevices = 60
const searchAfter = 200

/** Finds values by the names of devices and values, and says how many a rule about them watches. */
export function Chooser({ edit, onClose, onOther }: Properties) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [text, setText] = useState('')
  const [found, setFound] = useState<readonly HomeDevice[]>()
  const [failure, setFailure] = useState('')
  const isForDevices = onOther === undefined && isAboutDevices(edit.kind)
  useEffect(() => {
    dialog.current?.showModal()
  }, [])
  useEffect(() => {
    let isOver = false
    const timer = setTimeout(
      () =>
        void findValues(text, mostDevices).then(
          devices => !isOver && setFound(devices),
          (error: unknown) => !isOver && setFailure((error as Error).message),
        ),
      found ? searchAfter : 0,
    )
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [text])
  const close = () => dialog.current?.close()
  const chosen = edit.one?.value.series
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself; the click is one beside the dialog.
    <dialog
      ref={dialog}
      class="alerts-dialog"
      aria-label={say(onOther ? 'chooser.other' : 'chooser.title')}
      onClose={onClose}
      onClick={event => event.target === dialog.current && close()}
    >
      <div class="alerts-dialog-body">
        <h2>{say(onOther ? 'chooser.other' : 'chooser.title')}</h2>
        <label class="chooser-search">
          {say('chooser.search')}
          <input type="search" value={text} autofocus onInput={event => setText(event.currentTarget.value)} />
        </label>
        <ul class="chooser-list" aria-label={say('chooser.found')}>
          {(found ?? []).map(device =>
            isForDevices ? (
              <DeviceRow key={device.id} device={device} edit={edit} />
            ) : (
              device.values
                .filter(({ series }) => series !== undefined)
                .map(value => (
                  <ValueRow
                    key={value.series}
                    {...{ device, value, isChosen: value.series === chosen }}
                    onChoice={() => {
                      if (onOther) {
                        onOther(value.series ?? '')
                        close()
                      } else choose(edit, device, value)
                    }}
                  />
                ))
            ),
          )}
        </ul>
        {found?.length === 0 ? <p class="hint">{say('chooser.none', { text: nameText(text) })}</p> : null}
        {found && found.length >= mostDevices ? <p class="hint">{sayCount('chooser.more', mostDevices)}</p> : null}
        {failure ? (
          <p class="alerts-trouble" role="alert">
            {failure}
          </p>
        ) : null}
        {onOther ? null : <Scope edit={edit} />}
        <div class="dialog-buttons">
          <button type="button" class="plain primary" onClick={close}>
            {say('chooser.done')}
          </button>
        </div>
      </div>
    </dialog>
  )
}

/** Makes the rule one about a value. */
function choose(edit: EditModel, device: HomeDevice, value: HomeValue): void {
  const name = seriesName(value.series ?? '')
  if (name) edit.choose(device, value, name)
}

interface ValueProperties {
  readonly device: HomeDevice
  readonly value: HomeValue
  readonly isChosen: boolean
  readonly onChoice: () => void
}

function ValueRow({ device, value, isChosen, onChoice }: ValueProperties) {
  return (
    <li>
      <button type="button" class="chooser-value" aria-pressed={isChosen} onClick={onChoice}>
        <bdi>{nameOf(value)}</bdi>
        <span class="hint">
          <bdi>
            {[device.name, device.area]
              .filter(Boolean)
              .map(one => nameText(one ?? ''))
              .join(' · ')}
          </bdi>
        </span>
      </button>
    </li>
  )
}

function DeviceRow({ device, edit }: { readonly device: HomeDevice; readonly edit: EditModel }) {
  const { name, id, client, area = '' } = device
  const own = client ?? id
  return (
    <li>
      <button
        type="button"
        class="chooser-value"
        aria-pressed={edit.rule.device === own}
        onClick={() => edit.set({ device: own })}
      >
        <bdi>{nameText(name)}</bdi>
        <span class="hint">
          <bdi>{[own, area].filter(Boolean).map(nameText).join(' · ')}</bdi>
        </span>
      </button>
    </li>
  )
}
