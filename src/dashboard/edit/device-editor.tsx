import type { HomeDevice } from '../home/catalogue.js'
import { Icon } from '../home/icons.js'
import type { HomeModel } from '../home/model.js'
import { SheetDialog } from '../home/sheet-dialog.js'
import { useWholeDevice } from '../home/whole-device.js'
import { nameText } from '../wording.js'
import { AreaChoice } from './area-choice.js'
import { type DevicePatch, patchOf, valueKey } from './changes.js'
import { Check } from './check.js'
import type { Editor } from './editor.js'
import { Field } from './field.js'
import { IconChoice } from './icon-choice.js'
import { ValueEditor } from './value-editor.js'
import { say } from './words.js'

interface EditorProperties {
  readonly device: HomeDevice
  readonly model: HomeModel
  readonly editor: Editor
  readonly onClose: () => void
}

/** Most values that are shown large, by the limit of the hub. */
const mostMain = 8

/** All that can be changed of one device. Every change is saved at once. */
export function DeviceEditor({ device, model, editor, onClose }: EditorProperties) {
  const whole = useWholeDevice(device.id, model.catalogue?.revision, editor.boards?.revision)
  const edit = editor.editOf(device)
  const save = (change: DevicePatch) => editor.save(patchOf(device, change))
  const values = whole?.values ?? []
  const mains = edit.main ?? values.filter(({ main }) => main).map(valueKey)
  const shown = [...values].sort((a, b) => placeOf(mains, valueKey(a)) - placeOf(mains, valueKey(b)))
  const given = device.given?.name ?? device.name
  const { note } = editor
  return (
    <SheetDialog
      class="sheet editor"
      titleId="editor-title"
      closeName={say('close')}
      onClose={onClose}
      head={
        <>
          <span class="thing-icon">
            <Icon name={edit.icon ?? device.class} size={26} />
          </span>
          <div class="thing-title">
            <h2 id="editor-title">
              <bdi>{say('change', { name: nameText(edit.name ?? device.name) })}</bdi>
            </h2>
            <span class="arrange-note" role="status" data-tone={note?.tone ?? 'quiet'}>
              {note?.text ?? say('at-once')}
            </span>
          </div>
        </>
      }
    >
      <section class="sheet-part fields">
        <Field
          label={say('name')}
          value={edit.name ?? given}
          placeholder={given}
          {...(edit.name === undefined ? {} : { hint: say('given', { name: nameText(given) }) })}
          save={text => save({ name: text === '' || text === given ? null : text })}
        />
        <AreaChoice
          device={device}
          edit={edit}
          areas={model.catalogue?.areas.map(({ name }) => name) ?? []}
          save={save}
        />
        <IconChoice value={edit.icon} own={device.class} save={icon => save({ icon: icon ?? null })} />
        <Check
          checked={edit.hidden === true}
          text={say('hide-device')}
          save={checked => save({ hidden: checked ? true : null })}
        />
      </section>
      <section class="sheet-part">
        <h3>{say('values')}</h3>
        <p class="hint">{say('values-hint')}</p>
        <ul class="edit-values">
          {shown.map(value => {
            const key = valueKey(value)
            const at = mains.indexOf(key)
            return (
              <ValueEditor
                key={key}
                value={value}
                edit={edit.values?.[key] ?? {}}
                model={model}
                at={at}
                count={mains.length}
                isFull={mains.length >= mostMain}
                place={to => save({ main: moved(mains, key, to) })}
                save={change => save({ values: { [key]: change } } as DevicePatch)}
              />
            )
          })}
        </ul>
      </section>
    </SheetDialog>
  )
}

function placeOf(mains: readonly string[], key: string): number {
  const at = mains.indexOf(key)
  return at < 0 ? mains.length : at
}

/** Returns the main values with one at another place; undefined: nowhere. */
function moved(mains: readonly string[], key: string, to: number | undefined): readonly string[] {
  const others = mains.filter(one => one !== key)
  if (to !== undefined) others.splice(to, 0, key)
  return others
}
