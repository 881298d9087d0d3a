import { useState } from 'preact/hooks'
import { snippetFor } from '../snippet.js'
import { say } from '../texts/language.js'
import { useModel } from './context.js'

/** A page without devices: a command to begin with, to be copied. */
export function Empty() {
  const [isCopied, setCopied] = useState(false)
  const snippet = snippetFor(location.origin, useModel().needsKey)
  const copy = () => {
    void navigator.clipboard.writeText(snippet).then(() => {
      setCopied(true)
      setTimeout(() => setCopied(false), 2_000)
    })
  }
  return (
    <section class="home-empty">
      <h2>{say('home.empty')}</h2>
      <p>{say('home.empty-text')}</p>
      <p class="hint">{say('home.try')}</p>
      <div class="snippet">
        <code>{snippet}</code>
        {navigator.clipboard ? (
          <button type="button" onClick={copy}>
            {say(isCopied ? 'home.copied' : 'home.copy')}
          </button>
        ) : null}
      </div>
    </section>
  )
}
