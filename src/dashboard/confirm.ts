import { make } from './nodes.js'

/** Words of the two buttons. */
interface Answers {
  readonly yes: string
  readonly no: string
}

/** Asks before something that cannot be taken back. Resolves with whether to go on. */
export function confirmed(question: string, text: string, { yes, no }: Answers): Promise<boolean> {
  const title = make('h2', '', question)
  title.id = 'confirm-title'
  const cancel = make('button', 'plain', no)
  cancel.value = ''
  cancel.autofocus = true
  const go = make('button', 'plain danger', yes)
  go.value = 'yes'
  const form = make('form', '', title, make('p', '', text))
  form.method = 'dialog'
  form.append(make('div', 'dialog-buttons', cancel, go))
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
