import { Component, render } from 'preact'
import type { Page } from '../pages.js'
import { AlertPage } from './alert-page.js'
import { Model } from './context.js'
import { Editor } from './editor.js'
import { History } from './history.js'
import { AlertsModel } from './model.js'
import { Notifications } from './notifications.js'
import { Now } from './now.js'
import { Rules } from './rules.js'
import { Tabs } from './tabs.js'
import { say } from './words.js'

/** The page Alerts: what fires, what has fired, the rules, and who is told. */
class AlertsPage extends Component<{ readonly model: AlertsModel }> {
  override componentDidMount(): void {
    this.props.model.onChange = () => this.forceUpdate()
  }

  override render({ model }: { readonly model: AlertsModel }) {
    const { view, parameters } = model
    return (
      <Model.Provider value={model}>
        <div class="alerts">
          <h1 class="unseen" tabIndex={-1}>
            {say('title')}
          </h1>
          <Tabs />
          {view === 'now' ? <Now /> : null}
          {view === 'history' ? <History /> : null}
          {view === 'rules' ? <Rules /> : null}
          {view === 'notify' ? <Notifications /> : null}
          {view === 'alert' ? <AlertPage key={parameters.get('alert')} alert={parameters.get('alert') ?? ''} /> : null}
          {view === 'edit' ? <Editor key={parameters.toString()} parameters={parameters} /> : null}
        </div>
      </Model.Provider>
    )
  }
}

let model: AlertsModel | undefined

export const page: Page = {
  start(host, shell) {
    model = new AlertsModel(shell)
    render(<AlertsPage model={model} />, host)
  },
  show(parameters, focus) {
    model?.show(parameters)
    if (focus) document.querySelector<HTMLElement>('.alerts h1')?.focus({ preventScroll: true })
  },
  hide() {
    model?.hide()
  },
  filter(text) {
    model?.filter(text)
  },
  tick() {
    model?.tick()
  },
  changed() {
    model?.changed()
  },
}
