import { Component } from 'preact'
import { modelPage } from '../model-page.js'
import { nameText } from '../wording.js'
import { Bans } from './bans.js'
import { ClientItem } from './client.js'
import { ClientsModel } from './model.js'
import { sorts } from './requests.js'
import { ShortLists } from './short-lists.js'
import { say, sayCount } from './words.js'

/** The page Clients: who is connected, what they do, and how administrators end that. */
class ClientsPage extends Component<{ readonly model: ClientsModel }> {
  override componentDidMount(): void {
    this.props.model.onChange = () => this.forceUpdate()
  }

  override render({ model }: { readonly model: ClientsModel }) {
    const { answer, search, note, trouble, sort, mayChange } = model
    return (
      <>
        <h1 class="unseen" tabIndex={-1}>
          {say('title')}
        </h1>
        <p class="trouble" role="alert">
          {trouble}
        </p>
        {answer ? <ShortLists answer={answer} /> : trouble === '' ? <p class="hint">{say('loading')}</p> : null}
        {answer ? (
          <section aria-labelledby="clients-title">
            <div class="clients-tools">
              <h2 id="clients-title">{sayCount('count', answer.count)}</h2>
              <p class="hint" role="status">
                {sayCount('connected', answer.connected)} {note}
              </p>
              <fieldset class="segments" aria-label={say('sort')}>
                {sorts.map(one => (
                  <button key={one} type="button" aria-pressed={sort === one} onClick={() => model.sortBy(one)}>
                    {say(`sort.${one}`)}
                  </button>
                ))}
              </fieldset>
            </div>
            {answer.clients.length === 0 ? (
              <p class="hint">{search === '' ? say('none') : say('nothing', { text: nameText(search) })}</p>
            ) : null}
            <ul class="clients">
              {answer.clients.map(client => (
                <ClientItem key={`${client.user} ${client.clientId}`} {...{ client, model, mayChange }} />
              ))}
            </ul>
            {answer.clients.length < answer.count ? (
              <p class="hint">{say('shown', { count: answer.clients.length })}</p>
            ) : null}
          </section>
        ) : null}
        {model.bans ? <Bans bans={model.bans} model={model} /> : null}
      </>
    )
  }
}

export const page = modelPage(ClientsModel, ClientsPage)
