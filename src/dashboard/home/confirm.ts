import { make } from '../nodes.js'
import { say } from '../texts/language.js'
import { nameText } from '../wording.js'

/** Asks before a dangerous command. Resolves with whether to go on. */
export function ask(action: string, device: string): Promise<boolean> {
  const title = make('h2', '', say('control.ask', { action }))
  title.id = 'confirm-title'
  const cancel = make('button', 'plain', say('control.cancel'))
  cancel.value = ''
  cancel.autofocus = true
  const yes = make('button', 'plain danger', say('control.confirm', { action }))
  yes.value = 'yes'
  const form = make('form', '', title, make('p', '', say('control.ask-text', { name: nameText(device) })))
  form.method = 'dialog'
  form.append(make('div', 'dialog-buttons', cancel, yes))
  const dialog = make('dialog', 'confirm', form)
  dialog.setAttribute('aria-labelledby', title.id)
  document.body.append(dialog)
  dialog.showModal()
  return new Promise(resolve => {
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue === 'yes')
    })
  })
}
