import { Copy } from './copy.js'
import { Told } from './told.js'
import type { UsersModel } from './users-model.js'
import { say } from './words.js'

/** What was done last, why something was not, and a secret that is told once. */
export function Messages({ model }: { readonly model: UsersModel }) {
  const { note, trouble, secret, list } = model
  return (
    <>
      <Told note={note} trouble={trouble} />
      {list?.trouble === undefined ? null : (
        <div class="set-warning">
          <strong>{say('users.file-trouble')}</strong> <bdi>{list.trouble}</bdi>
        </div>
      )}
      {secret ? (
        <section class="card set-secret" aria-labelledby="secret-title">
          <h2 id="secret-title">
            <bdi>{secret.title}</bdi>
          </h2>
          <p class="hint">{say('secret.once')}</p>
          <div class="set-secret-line">
            <code>{secret.text}</code>
            <Copy text={secret.text} what={secret.title} />
            <button type="button" class="plain" onClick={() => model.tell(undefined)}>
              {say('secret.done')}
            </button>
          </div>
        </section>
      ) : null}
    </>
  )
}

/** The text in place of users where the hub asks for no login. */
export function NoLogin() {
  return (
    <section class="card" aria-labelledby="no-login">
      <h2 id="no-login">{say('open.title')}</h2>
      <p>{say('open.text')}</p>
      <p>{say('open.how')}</p>
      <pre>
        <code>
          telehub user add ME --kind admin{'\n'}
          {say('open.then')}
          {'\n'}auth.file: users.yaml
        </code>
      </pre>
    </section>
  )
}
