import { Component } from 'preact'
import { ask } from '../home/confirm.js'
import { nameText } from '../wording.js'
import { Test } from './back-test.js'
import { Clauses } from './clauses.js'
import { Condition } from './condition.js'
import { Model } from './context.js'
import { EditModel } from './edit-model.js'
import { TextInput } from './inputs.js'
import type { AlertsModel } from './model.js'
import { deleteRule } from './requests.js'
import { RuleText } from './rule-json.js'
import { Matches } from './scope.js'
import { Sentence } from './sentence.js'
import { say } from './words.js'

interface Properties {
  readonly parameters: URLSearchParams
}

/** The editor of one rule, which reads as sentences. */
export class Editor extends Component<Properties> {
  static override contextType = Model
  #edit: EditModel | undefined

  get #page(): AlertsModel {
    return this.context as AlertsModel
  }

  override componentDidMount(): void {
    this.#edit = new EditModel(this.#page, () => this.forceUpdate())
    void this.#edit.start(this.props.parameters)
    void this.#page.refreshNotify()
  }

  override componentWillUnmount(): void {
    this.#edit?.end()
  }

  async #save(edit: EditModel): Promise<void> {
    if (await edit.save()) this.#page.shell.go('#alerts&view=rules')
    else document.querySelector<HTMLElement>('.editor [aria-invalid="true"]')?.focus()
  }

  async #delete({ name }: EditModel): Promise<void> {
    if (!(await ask(say('rules.delete'), name))) return
    try {
      await deleteRule(name)
      await this.#page.refresh()
      this.#page.shell.go('#alerts&view=rules')
    } catch (error) {
      if (this.#edit) this.#edit.saveFailure = (error as Error).message
      this.forceUpdate()
    }
  }

  override render() {
    const edit = this.#edit
    if (!edit || edit.isThere === undefined) return <p class="hint">{say('loading')}</p>
    if (!edit.isThere) return <p class="alerts-none">{say('rules.gone')}</p>
    const { original, isReadOnly, rule } = edit
    const { mayChange } = this.#page
    return (
      <div class="editor">
        <section class="editor-rule" aria-labelledby="editor-title">
          <h2 id="editor-title">{original ? <bdi>{nameText(original.name)}</bdi> : say('rules.new')}</h2>
          {original?.source === 'file' ? (
            <p class="alerts-note">
              {say('rules.in-file', { file: nameText(original.file ?? 'alerts.yaml'), line: original.line ?? 1 })}{' '}
              {mayChange ? (
                <a class="link" href={`#alerts&new&${new URLSearchParams({ copy: original.name })}`}>
                  {say('rules.copy')}
                </a>
              ) : null}
            </p>
          ) : null}
          {mayChange || original ? null : <p class="alerts-note">{say('rules.not-you')}</p>}
          <Condition edit={edit} />
          <Matches edit={edit} />
          {edit.kind ? <Clauses edit={edit} /> : null}
          {edit.kind ? <Naming edit={edit} /> : null}
          <RuleText edit={edit} />
          {isReadOnly ? null : (
            <div class="editor-acts">
              <button
                type="button"
                class="plain primary"
                disabled={edit.isSaving}
                onClick={() => void this.#save(edit)}
              >
                {say('act.save')}
              </button>
              <a class="plain" href="#alerts&view=rules">
                {say('act.cancel')}
              </a>
              {original ? (
                <>
                  <label class="alerts-choice">
                    <input
                      type="checkbox"
                      checked={rule.enabled !== false}
                      onChange={event => edit.set({ enabled: event.currentTarget.checked ? undefined : false })}
                    />
                    {say('rules.enabled')}
                  </label>
                  <button type="button" class="plain danger" onClick={() => void this.#delete(edit)}>
                    {say('rules.delete')}
                  </button>
                </>
              ) : null}
            </div>
          )}
          {edit.isAsked && edit.mistakes.length > 0 ? (
            <p class="alerts-trouble" role="alert">
              {say('mistakes')}
            </p>
          ) : null}
          {edit.saveFailure ? (
            <p class="alerts-trouble" role="alert">
              {say('failed', { why: edit.saveFailure })}
            </p>
          ) : null}
        </section>
        <Test edit={edit} />
      </div>
    )
  }
}

/** The name of the rule, and words that are put before the sentences of its alerts. */
function Naming({ edit }: { readonly edit: EditModel }) {
  const { rule, name, original, mistakes, isReadOnly: isOff } = edit
  return (
    <Sentence
      {...{ mistakes, fields: ['name', 'about'] }}
      text={say('clause.name')}
      parts={{
        name: (
          <TextInput
            label={say('name.label')}
            value={name}
            maxLength={100}
            isOff={isOff || original !== undefined}
            isWrong={mistakes.some(({ field }) => field === 'name')}
            onValue={next => edit.setName(next)}
          />
        ),
        about: (
          <TextInput
            label={say('about.label')}
            value={typeof rule.about === 'string' ? rule.about : ''}
            placeholder={say('about.example')}
            maxLength={500}
            isOff={isOff}
            isWrong={mistakes.some(({ field }) => field === 'about')}
            onValue={about => edit.set({ about: about === '' ? undefined : about })}
          />
        ),
      }}
    />
  )
}
