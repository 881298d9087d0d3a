import { Component, createRef } from 'preact'
import { modelPage } from '../model-page.js'
import type { Shell } from '../pages.js'
import { type Part, type PartEntry, parts } from './part.js'
import { say } from './words.js'

/** State of the page, with the parts loaded so far. */
class SettingsModel {
  readonly shell: Shell
  readonly loaded = new Map<string, Part>()
  parameters = new URLSearchParams()
  search = ''
  trouble = ''
  onChange: () => void = () => {}

  constructor(shell: Shell) {
    this.shell = shell
  }

  /** The part that the address names; the first without a name. */
  get entry(): PartEntry {
    const name = this.parameters.get('part')
    return parts.find(one => one.name === name) ?? (parts[0] as PartEntry)
  }

  async show(parameters: URLSearchParams): Promise<void> {
    this.parameters = parameters
    this.trouble = ''
    this.onChange()
    const { name, load } = this.entry
    if (this.loaded.has(name)) return
    try {
      this.loaded.set(name, await load())
    } catch (error) {
      this.trouble = say('failed', { why: (error as Error).message })
    }
    this.onChange()
  }

  find(text: string): void {
    this.search = text.trim()
    this.onChange()
  }
}

/** The page Settings, for administrators: its parts, each with an address and loaded when first shown. */
class SettingsPage extends Component<{ readonly model: SettingsModel }> {
  readonly #tabs = createRef<HTMLElement>()
  #inView = ''

  override componentDidMount(): void {
    this.props.model.onChange = () => this.forceUpdate()
  }

  override componentDidUpdate(): void {
    // The tabs scroll on a phone: the one that is shown comes into view.
    const { entry } = this.props.model
    if (entry.name === this.#inView) return
    this.#inView = entry.name
    this.#tabs.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }

  override render({ model }: { readonly model: SettingsModel }) {
    const { shell, parameters, search, loaded, trouble } = model
    if (shell.session && !shell.session.mayChange) {
      return (
        <>
          <h1 tabIndex={-1}>{say('title')}</h1>
          <p>{say('forbidden')}</p>
        </>
      )
    }
    const { name, title } = model.entry
    const Shown = loaded.get(name)
    return (
      <>
        <h1 class="unseen" tabIndex={-1}>
          {say('title')}: {say(title)}
        </h1>
        <nav ref={this.#tabs} class="set-parts" aria-label={say('parts')}>
          {parts.map(one => (
            <a key={one.name} href={`#settings&part=${one.name}`} aria-current={one.name === name ? 'page' : undefined}>
              {say(one.title)}
            </a>
          ))}
        </nav>
        <div class="set-part" data-part={name}>
          {trouble === '' ? null : (
            <p class="set-trouble" role="alert">
              {trouble}
            </p>
          )}
          {Shown ? (
            <Shown key={name} {...{ shell, parameters, search }} />
          ) : trouble === '' ? (
            <p class="hint">{say('loading')}</p>
          ) : null}
        </div>
      </>
    )
  }
}

export const page = modelPage(SettingsModel, SettingsPage)
