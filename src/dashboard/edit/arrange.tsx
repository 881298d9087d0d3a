import { Component, createRef } from 'preact'
import { type Catalogue, type HomeDevice, isFound } from '../home/catalogue.js'
import { Icon } from '../home/icons.js'
import { type HomeModel, isKnown } from '../home/model.js'
import { nameText } from '../wording.js'
import { ArrangeArea } from './area.js'
import { areaMoved, areaRenamed, deviceMoved, patchOf } from './changes.js'
import { DeviceEditor } from './device-editor.js'
import { type DropPlace, startDrag } from './drag.js'
import { EditIcon } from './edit-icon.js'
import { Editor } from './editor.js'
import { say, sayCount } from './words.js'

interface Properties {
  readonly model: HomeModel
}

/** Changes that a part of the page may ask for. Implemented by the page. */
export interface Arranging {
  readonly editor: Editor
  move(device: HomeDevice, area: string, to: number, act: string): void
  moveArea(name: string, to: number, act: string): void
  renameArea(name: string, to: string): ReturnType<Editor['save']>
  hide(device: HomeDevice, hidden: boolean): void
  change(device: HomeDevice): void
  drag(event: PointerEvent, what: { readonly device: HomeDevice } | { readonly area: string }): void
}

interface State {
  /** Id of the device that is changed. */
  readonly open?: string | undefined
}

/** An area with all devices, hidden ones too. */
interface Members {
  readonly name: string
  readonly devices: readonly HomeDevice[]
}

/** Home in edit mode: all areas and devices in their order, hidden ones too. */
export class Arrange extends Component<Properties, State> implements Arranging {
  readonly editor = new Editor(this.props.model)
  readonly #root = createRef<HTMLDivElement>()
  /** Target of the focus once the page is drawn again: a part that was moved takes the focus along. */
  #focus: string | undefined

  override componentDidMount(): void {
    this.editor.onChange = () => this.forceUpdate()
    void this.editor.refresh()
    this.#root.current?.querySelector<HTMLElement>('h2')?.focus()
  }

  override componentDidUpdate(): void {
    void this.editor.refresh()
    const selector = this.#focus
    this.#focus = undefined
    if (selector === undefined) return
    const [row, act] = selector.split('\n')
    const buttons = this.#root.current?.querySelector(`[data-drop-key="${CSS.escape(row ?? '')}"]`)
    const wanted = buttons?.querySelector<HTMLButtonElement>(`[data-act="${act}"]`)
    // At the end of the way the other direction is left.
    const other = buttons?.querySelector<HTMLButtonElement>(`[data-act="${act === 'earlier' ? 'later' : 'earlier'}"]`)
    if (wanted) (wanted.disabled ? other : wanted)?.focus()
  }

  override componentWillUnmount(): void {
    this.editor.onChange = undefined
  }

  move(device: HomeDevice, area: string, to: number, act = ''): void {
    const { catalogue } = this.props.model
    if (!catalogue) return
    if (act !== '') this.#focus = `d:${device.id}\n${act}`
    const move = deviceMoved(catalogue, device, area, to)
    const members = move.catalogue.devices.filter(one => (one.area ?? '') === area)
    const name = nameText(device.name)
    const place = { name, place: to + 1, all: members.length, area: area === '' ? say('no-area') : nameText(area) }
    void this.editor.move(move, say('moved', place))
  }

  moveArea(name: string, to: number, act = ''): void {
    const { catalogue } = this.props.model
    if (!catalogue) return
    if (act !== '') this.#focus = `a:${name}\n${act}`
    const done = say('area-moved', { area: nameText(name), place: to + 1, all: catalogue.areas.length })
    void this.editor.move(areaMoved(catalogue, name, to), done)
  }

  renameArea(name: string, to: string): ReturnType<Editor['save']> {
    const { catalogue } = this.props.model
    if (!catalogue) return Promise.resolve('failed')
    return this.editor.move(areaRenamed(catalogue, name, to), say('saved'))
  }

  hide(device: HomeDevice, hidden: boolean): void {
    const done = say(hidden ? 'hidden-now' : 'shown-now', { name: nameText(device.name) })
    void this.editor.save(patchOf(device, { hidden: hidden ? true : null }), done)
  }

  change(device: HomeDevice): void {
    this.setState({ open: device.id })
  }

  drag(event: PointerEvent, what: { readonly device: HomeDevice } | { readonly area: string }): void {
    const handle = event.currentTarget as HTMLElement
    const isDevice = 'device' in what
    const source = handle.closest<HTMLElement>(isDevice ? '.arrange-device' : '.arrange-area')
    const grid = this.#root.current?.querySelector('.arrange-areas')
    if (!source || !grid) return
    const columns = getComputedStyle(grid).gridTemplateColumns.split(' ').length
    startDrag(event, handle, {
      source,
      targets: isDevice ? '.arrange-device, .arrange-area' : '.arrange-area:not([data-drop-key="a:"])',
      isAcross: !isDevice && columns > 1,
      dropped: place => (isDevice ? this.#dropDevice(what.device, place) : this.#dropArea(what.area, place)),
    })
  }

  #dropDevice(device: HomeDevice, { key, isAfter }: DropPlace): void {
    const areas = this.#areas(this.props.model.catalogue)
    const name = key.slice(2)
    const isArea = key.startsWith('a:')
    const area = areas.find(one => (isArea ? one.name === name : one.devices.some(({ id }) => id === name)))
    if (!area) return
    const others = area.devices.filter(one => one !== device)
    const at = isArea ? (isAfter ? others.length : 0) : others.findIndex(({ id }) => id === name) + (isAfter ? 1 : 0)
    this.move(device, area.name, Math.max(0, at))
  }

  #dropArea(area: string, { key, isAfter }: DropPlace): void {
    const others = (this.props.model.catalogue?.areas ?? []).filter(({ name }) => name !== area)
    const at = others.findIndex(({ name }) => name === key.slice(2))
    if (at >= 0) this.moveArea(area, at + (isAfter ? 1 : 0))
  }

  #areas(catalogue: Catalogue | undefined): readonly Members[] {
    const devices = (catalogue?.devices ?? []).filter(isKnown)
    const names = [...(catalogue?.areas ?? []).map(({ name }) => name), '']
    return names
      .map(name => ({ name, devices: devices.filter(({ area = '' }) => area === name) }))
      .filter(({ devices }) => devices.length > 0)
  }

  override render({ model }: Properties, { open }: State) {
    const { editor } = this
    const { boards, note, last } = editor
    const areas = this.#areas(model.catalogue)
    const named = areas.filter(({ name }) => name !== '')
    const opened = open === undefined ? undefined : model.device(open)
    const words = model.text.toLowerCase().split(/\s+/).filter(Boolean)
    const isUndoable = (boards?.undo ?? 0) > 0 && !editor.isBusy
    const hidden = areas.reduce((sum, area) => sum + area.devices.filter(one => one.hidden).length, 0)
    return (
      <div class="arrange" ref={this.#root}>
        <div class="arrange-head">
          <h2 tabIndex={-1}>{say('title')}</h2>
          <p class="arrange-note" role="status" data-tone={note?.tone ?? 'quiet'}>
            {note?.text ?? (hidden > 0 ? sayCount('hidden-count', hidden) : say('hint'))}
          </p>
          <button type="button" class="plain" disabled={!isUndoable} onClick={() => void editor.undo()}>
            <EditIcon name="undo" size={16} />
            <span class="undo-text">
              {last ? say('undo-what', { what: editor.sentenceOf(last) }) : say('undo')}
              {last && editor.isForeign(last) && last.by !== '' ? ` (${nameText(last.by)})` : ''}
            </span>
          </button>
          <button type="button" class="plain main-act" onClick={() => model.set({ isEditing: false })}>
            <Icon name="well" size={16} />
            {say('done')}
          </button>
        </div>
        {boards && boards.mistakes.length > 0 ? (
          <p class="arrange-mistakes" role="alert">
            {say('mistakes', { first: nameText(boards.mistakes[0] ?? '') })}
          </p>
        ) : null}
        <div class="arrange-areas">
          {areas.map(area => (
            <ArrangeArea
              key={area.name}
              name={area.name}
              devices={area.devices.filter(device => isFound(device, words))}
              all={area.devices}
              at={named.indexOf(area)}
              count={named.length}
              arranging={this}
            />
          ))}
        </div>
        {opened ? (
          <DeviceEditor
            key={opened.id}
            device={opened}
            model={model}
            editor={editor}
            onClose={() => this.setState({ open: undefined })}
          />
        ) : null}
      </div>
    )
  }
}
