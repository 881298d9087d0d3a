import { Component } from 'preact'
import { modelPage } from '../model-page.js'
import { Model } from './context.js'
import { ExploreModel } from './model.js'
import { Publish } from './publish.js'
import { RetainedMessages } from './retained.js'
import { TopicPanel } from './topic.js'
import { Tree } from './tree.js'
import { say } from './words.js'

const views = ['topics', 'retained', 'publish', 'rules'] as const

/** The page Explore: the tree of topics, the messages of one, what is retained, and publishing. */
class ExplorePage extends Component<{ readonly model: ExploreModel }> {
  override componentDidMount(): void {
    this.props.model.onChange = () => this.forceUpdate()
  }

  override render({ model }: { readonly model: ExploreModel }) {
    const { view, topic, parameters, shell } = model
    const Mapping = model.mapping?.MappingView
    // Like the balance, the rules are for those who may read everything.
    const shown = views.filter(name => name !== 'rules' || shell.ready?.waiting !== undefined)
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
        {view === 'publish' ? <Publish key={parameters.toString()} given={parameters.get('publish') ?? ''} /> : null}
      </Model.Provider>
    )
  }
}

export const page = modelPage(ExploreModel, ExplorePage)
