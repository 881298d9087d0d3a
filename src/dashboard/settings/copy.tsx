import { useState } from 'preact/hooks'
import { say } from './words.js'

/** A button that copies a text. Nothing where the browser does not let pages copy, as without TLS. */
export function Copy({ text, what }: { readonly text: string; readonly what: string }) {
  const [isCopied, setCopied] = useState(false)
  if (!navigator.clipboard) return null
  const copy = () => void navigator.clipboard.writeText(text).then(() => setCopied(true))
  return (
    <button type="button" class="plain" aria-label={say('copy.label', { what })} onClick={copy}>
      {say(isCopied ? 'copied' : 'copy')}
    </button>
  )
}
