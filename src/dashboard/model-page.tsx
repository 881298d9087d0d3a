import { type ComponentType, render } from 'preact'
import type { Page, Shell } from './pages.js'

/** State of a page, which is drawn anew by `onChange`. */
export interface PageModel {
  show(parameters: URLSearchParams): unknown
  /** Takes the text of the search field. */
  find(text: string): void
  tick?(): void
  onChange: () => void
}

/** Makes a page of a model and of the component that draws the model. The model is made when the page is first shown. */
export function modelPage<Model extends PageModel>(
  make: new (shell: Shell) => Model,
  Shown: ComponentType<{ readonly model: Model }>,
): Page {
  let model: Model
  let host: HTMLElement
  return {
    start(element, shell) {
      host = element
      model = new make(shell)
      render(<Shown model={model} />, host)
    },
    show(parameters, focus) {
      void model.show(parameters)
      if (focus) host.querySelector('h1')?.focus()
    },
    filter(text) {
      model.find(text)
    },
    tick() {
      model.tick?.()
    },
    changed() {
      model.onChange()
    },
  }
}
