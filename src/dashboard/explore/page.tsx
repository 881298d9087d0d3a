import { Component } from 'preact'
import { modelPage } from '../model-page.js'
import { countText } from '../wording.js'
import { Model } from './context.js'
import { ExploreModel } from './model.js'
import { Publish } from './publish.js'
import { RetainedMessages } from './retained.js'
import { TopicPanel } from './topic.js'
import { Tree } from './tree.js'
import { say } from './words.js'

const views = ['topics', 'retained', 'publish', 'rules', 'inbox'] as const

/** The page Explore: the tree of topics, the messages of one, what is retained, publishing, the mapping, the inbox. */
class ExplorePage extends Component<{ readonly model: ExploreModel }> {
  override componentDidMount(): void {
    this.props.model.onChange = () => this.forceUpdate()
  }

  override render({ model }: { readonly model: ExploreModel }) {
    const { view, topic, parameters, shell } = model
    const Mapping = model.mapping?.MappingView
    const Inbox = model.inbox?.InboxView
    // Like the balance, the rules and the inbox are for those who may read everything.
    const isShown = { topics: true, retained: true, publish: true, rules: model.seesAll, inbox: model.seesInbox }
    const shown = views.filter(name => isShown[name])
    return (
      <Model.Provider value={model}>
        <h1 class="unseen" tabIndex={-1}>
          {say('title')}
        </h1>
        <nav class="explore-views" aria-label={say('title')}>
          {shown.map(name => (
            <a
              key={name}
              href={name === 'topics' ? '#explore' : `#${new URLSearchParams({ explore: '', [name]: '' })}`}
              aria-current={view === name ? 'page' : undefined}
            >
              {say(`view.${name}`)}
              {name === 'inbox' && model.unknown ? (
                <>
                  {' '}
                  <span class="explore-count">{countText(model.unknown)}</span>
                </>
              ) : null}
            </a>
          ))}
        </nav>
        {view === 'topics' ? (
          <div class="explore-columns" data-open={topic !== undefined}>
            <Tree />
            <TopicPanel key={topic} />
          </div>
        ) : null}
        {view === 'retained' ? (
          <RetainedMessages key={parameters.toString()} given={parameters.get('retained') || '#'} />
        ) : null}
        {view === 'rules' && Mapping ? <Mapping shell={shell} parameters={parameters} /> : null}
        {view === 'inbox' && Inbox ? <Inbox shell={shell} /> : null}
        {view === 'publish' ? <Publish key={parameters.toString()} given={parameters.get('publish') ?? ''} /> : null}
      </Model.Provider>
    )
  }
}

export const page = modelPage(ExploreModel, ExplorePage)
