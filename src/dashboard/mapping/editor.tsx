import { saidText } from '../said/said.js'
import { nameText } from '../wording.js'
import { placeText, useMapping } from './context.js'
import { filterOf, namesOf, othersOf, tagsOf, textOf, withKey, withTag } from './draft.js'
import { Fields } from './fields.js'
import { Levels } from './levels.js'
import { Matches } from './matches.js'
import { Mistake, mistakesOf } from './mistake.js'
import { More } from './more.js'
import { Preview } from './preview.js'
import { Saved } from './saved.js'
import { say } from './words.js'

/** One rule: which topics, what becomes of their messages, and the last messages as the rule would store them. */
export function Editor() {
  const model = useMapping()
  const { rule, check, failure, saved, isBusy, mayChange, replaces } = model
  if (!rule || !check) {
    return (
      <p class={failure === '' ? 'hint' : 'trouble'} role="status">
        {failure === '' ? say('loading') : say('failed', { why: failure })}
      </p>
    )
  }
  const edit = (key: string, value: unknown) => model.edit(withKey(rule, key, value))
  const isIgnored = rule.ignore === true
  const names = namesOf(rule)
  const unnamed = check.mistakes.filter(({ key }) => key === undefined || othersOf(rule).includes(key))
  return (
    <div class="mapping">
      <div class="mapping-form">
        <div class="mapping-head">
          <a class="mapping-back" href="#explore&rules">
            ‹ {say('rules.title')}
          </a>
          <h2>
            {replaces === undefined
              ? say('edit.new')
              : say('edit.change', { place: placeText({ from: 'hub', number: replaces }) })}
          </h2>
        </div>
        <section class="card" aria-labelledby="map-topics">
          <h3 id="map-topics">{say('topics.title')}</h3>
          <p class="hint">{say('topics.hint')}</p>
          <Levels />
          <Mistake of="topic" />
          <Matches />
        </section>
        <section class="card" aria-labelledby="map-stored">
          <h3 id="map-stored">{say('stored.title')}</h3>
          <label class="toggle">
            <input
              type="checkbox"
              checked={isIgnored}
              onChange={event => edit('ignore', event.currentTarget.checked)}
            />
            {say('ignore')}
          </label>
          {isIgnored ? (
            <p class="hint">{say('ignore.hint')}</p>
          ) : (
            <>
              <label class="mapping-line">
                <span>{say('measurement')}</span>
                <input
                  id="map-measurement"
                  value={textOf(rule, 'measurement')}
                  autocomplete="off"
                  autocapitalize="off"
                  spellcheck={false}
                  aria-invalid={mistakesOf(check, 'measurement').length > 0}
                  aria-describedby="map-measurement-hint mistake-measurement"
                  onInput={event => edit('measurement', event.currentTarget.value)}
                />
              </label>
              <p class="hint" id="map-measurement-hint">
                {names.length > 0 ? say('measurement.named', { name: `{${names[0]}}` }) : say('measurement.hint')}
              </p>
              <Mistake of="measurement" />
              {names.length > 0 ? (
                <fieldset class="mapping-tags">
                  <legend>{say('tags')}</legend>
                  {names.map(name => (
                    <label key={name} class="toggle">
                      <input
                        type="checkbox"
                        checked={tagsOf(rule).includes(name)}
                        onChange={event => model.edit(withTag(rule, name, event.currentTarget.checked))}
                      />
                      <bdi>{nameText(name)}</bdi>
                    </label>
                  ))}
                </fieldset>
              ) : null}
              <Mistake of="tags" />
              <Fields />
              {['fields', 'keep', 'drop', 'types', 'units'].map(key => (
                <Mistake key={key} of={key} />
              ))}
              <More />
            </>
          )}
          {unnamed.map(({ key, said, sentence }) => (
            <p key={`${key} ${sentence}`} class="trouble" role="alert">
              {`${key === undefined ? '' : `${key}: `}${saidText(said) ?? sentence}`}
            </p>
          ))}
        </section>
        <div class="mapping-save">
          {failure === '' ? null : (
            <p class="trouble" role="alert">
              {say('failed', { why: failure })}
            </p>
          )}
          {mayChange ? null : <p class="hint">{say('read-only')}</p>}
          {saved ? (
            <Saved />
          ) : (
            <button
              type="button"
              class="plain strong"
              disabled={!mayChange || isBusy || check.mistakes.length > 0}
              onClick={() => void model.save()}
            >
              {say(isBusy ? 'saving' : 'save')}
            </button>
          )}
          {saved || replaces !== undefined ? null : (
            <p class="hint">{say('save.hint', { filter: filterOf(textOf(rule, 'topic')) })}</p>
          )}
        </div>
      </div>
      <Preview />
    </div>
  )
}
