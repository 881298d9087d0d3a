import { Component } from 'preact'
import type { Shell } from '../pages.js'
import { Model } from './context.js'
import { Editor } from './editor.js'
import { MapModel } from './model.js'
import { RuleList } from './rule-list.js'

interface Properties {
  readonly shell: Shell
  /** Those of the address: `map` with `topic` or `rule`, or `rules`. */
  readonly parameters: URLSearchParams
}

/** The mapping: all rules, or one that is made or changed and tried on the last messages. */
export class MappingView extends Component<Properties> {
  readonly #model = new MapModel(this.props.shell)
  #timer: ReturnType<typeof setInterval> | undefined

  override componentDidMount(): void {
    this.#model.onChange = () => this.forceUpdate()
    this.#model.show(this.props.parameters)
    this.#timer = setInterval(() => this.#model.tick(), 1_000)
  }

  override componentDidUpdate(): void {
    this.#model.show(this.props.parameters)
  }

  override componentWillUnmount(): void {
    clearInterval(this.#timer)
    this.#model.onChange = () => {}
  }

  override render({ parameters }: Properties) {
    const isList = !parameters.has('map') || (!parameters.has('topic') && !parameters.has('rule'))
    return <Model.Provider value={this.#model}>{isList ? <RuleList /> : <Editor />}</Model.Provider>
  }
}
