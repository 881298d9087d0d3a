import { useState } from 'preact/hooks'
import { fetchHomeDevice } from '../api.js'
import { Check } from '../edit/check.js'
import type { Editor } from '../edit/editor.js'
import { Field } from '../edit/field.js'
import { useWanted } from '../edit/wanted.js'
import { type Board, type HomeDevice, type HomeValue, isFound } from '../home/catalogue.js'
import { nameOf } from '../home/format.js'
import { Icon } from '../home/icons.js'
import { type HomeModel, isShown } from '../home/model.js'
import { SheetDialog } from '../home/sheet-dialog.js'
import { nameText } from '../wording.js'
import { labelOf } from './series-label.js'
import { SharePart } from './share-part.js'
import { say } from './words.js'

interface EditorProperties {
  readonly model: HomeModel
  readonly id: string
  readonly board: Board
  readonly editor: Editor
}

const densities = ['cards', 'list', 'heat'] as const
/** Most devices that are listed at once. */
const mostListed = 40

/** All that can be changed of a board. Every change is saved at once. */
export function BoardEditor({ model, id, board, editor }: EditorProperties) {
  const [text, setText] = useState('')
  const [isSure, setSure] = useState(false)
  const { areas = [], devices = [], series = [], density } = board
  const save = (change: { readonly [Name in keyof Board]?: Board[Name] | null }) =>
    editor.save({ boards: { [id]: change } })
  const [chosen, choose] = useWanted<string>(density ?? '', one =>
    save({ density: densities.find(density => density === one) ?? null }),
  )
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  const all = (model.catalogue?.devices ?? []).filter(isShown)
  const found = all.filter(device => isFound(device, words))
  // Devices on the board come first, so that one sees what is there.
  const sorted = [...found].sort((a, b) => Number(devices.includes(b.id)) - Number(devices.includes(a.id)))
  const toggled = (list: readonly string[], one: string, isIn: boolean) =>
    isIn ? [...list.filter(other => other !== one), one] : list.filter(other => other !== one)
  const close = () => model.set({ isEditing: false })
  const remove = async () => {
    if (!isSure) return setSure(true)
    if ((await editor.save({ boards: { [id]: null } }, say('deleted'))) !== 'saved') return
    close()
    location.replace(`${location.pathname}${location.search}#`)
  }
  return (
    <SheetDialog
      class="sheet editor"
      titleId="board-title"
      closeName={say('close')}
      onClose={close}
      head={
        <div class="thing-title">
          <h2 id="board-title">{say('title')}</h2>
          <span class="arrange-note" role="status" data-tone={editor.note?.tone ?? 'quiet'}>
            {editor.note?.text ?? ''}
          </span>
        </div>
      }
    >
      <section class="sheet-part fields">
        <Field label={say('name')} value={board.name ?? ''} save={name => save({ name: name === '' ? null : name })} />
        <div class="field">
          <label>
            <span class="field-label">{say('density')}</span>
            <select value={chosen} onChange={event => choose(event.currentTarget.value)}>
              <option value="">{say('density.own')}</option>
              {densities.map(one => (
                <option key={one} value={one}>
                  {say(`density.${one}`)}
                </option>
              ))}
            </select>
          </label>
        </div>
      </section>
      <section class="sheet-part">
        <h3>{say('areas')}</h3>
        <p class="hint">{say('areas-hint')}</p>
        <div class="board-choices">
          {(model.catalogue?.areas ?? []).map(({ name }) => (
            <Check
              key={name}
              text={nameText(name)}
              checked={areas.includes(name)}
              save={isIn => save({ areas: toggled(areas, name, isIn) })}
            />
          ))}
        </div>
      </section>
      <section class="sheet-part">
        <h3>{say('devices')}</h3>
        {all.length > 10 ? (
          <div class="field">
            <input
              type="search"
              aria-label={say('find')}
              placeholder={say('find')}
              value={text}
              onInput={event => setText(event.currentTarget.value)}
            />
          </div>
        ) : null}
        <div class="board-choices">
          {sorted.slice(0, mostListed).map(device => (
            <Check
              key={device.id}
              text={nameText(device.name)}
              checked={devices.includes(device.id)}
              save={isIn => save({ devices: toggled(devices, device.id, isIn) })}
            />
          ))}
        </div>
        {sorted.length > mostListed ? <p class="hint">{say('more', { count: sorted.length - mostListed })}</p> : null}
      </section>
      <section class="sheet-part">
        <h3>{say('charts')}</h3>
        <ul class="board-series">
          {series.map(key => {
            const { name, device } = labelOf(key, all)
            const title = device === undefined ? name : `${device} · ${name}`
            return (
              <li key={key}>
                <bdi>{title}</bdi>
                <button
                  type="button"
                  class="tool"
                  aria-label={say('remove', { name: title })}
                  onClick={() => void save({ series: series.filter(one => one !== key) })}
                >
                  <Icon name="close" size={16} />
                </button>
              </li>
            )
          })}
        </ul>
        <AddChart devices={all} taken={series} add={key => save({ series: [...series, key] })} />
      </section>
      <SharePart board={id} needsLogin={model.needsKey} />
      <section class="sheet-part">
        <button type="button" class="plain danger" onClick={() => void remove()}>
          {say(isSure ? 'delete-sure' : 'delete')}
        </button>
      </section>
    </SheetDialog>
  )
}

interface AddProperties {
  readonly devices: readonly HomeDevice[]
  readonly taken: readonly string[]
  readonly add: (series: string) => Promise<unknown>
}

/** Chooses a device, then one of the values of that which are stored. */
function AddChart({ devices, taken, add }: AddProperties) {
  const [values, setValues] = useState<readonly HomeValue[]>()
  const [device, setDevice] = useState('')
  const chooseDevice = (id: string) => {
    setDevice(id)
    setValues(undefined)
    if (id === '') return
    void fetchHomeDevice(id).then(
      found => setValues(found?.values.filter(({ series }) => series !== undefined) ?? []),
      () => setValues([]),
    )
  }
  return (
    <div class="fields">
      <div class="field">
        <select
          aria-label={say('add-chart')}
          value={device}
          onChange={event => chooseDevice(event.currentTarget.value)}
        >
          <option value="">{say('add-chart')}</option>
          {devices.map(({ id, name }) => (
            <option key={id} value={id}>
              {nameText(name)}
            </option>
          ))}
        </select>
      </div>
      {values ? (
        <div class="board-values">
          {values.map(value => (
            <button
              type="button"
              class="plain"
              key={value.series}
              disabled={taken.includes(value.series as string)}
              onClick={() => void add(value.series as string)}
            >
              {nameOf(value)}
            </button>
          ))}
        </div>
      ) : null}
    </div>
  )
}
