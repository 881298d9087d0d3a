import { useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import { hexRows } from './bytes.js'
import { type Change, jsonLines } from './json-lines.js'
import { say } from './words.js'

interface Properties {
  readonly bytes: Uint8Array
  /** Undefined: the bytes are no text. */
  readonly text: string | undefined
  readonly isCut: boolean
  /** Paths of values that are different from the message before. */
  readonly marked: ReadonlyMap<string, Change['kind']>
}

const ways = ['json', 'text', 'hex'] as const

/** A payload: as JSON that is laid out, as text, or as bytes. */
export function Payload({ bytes, text, isCut, marked }: Properties) {
  const [wanted, want] = useState<(typeof ways)[number]>('json')
  const [isCopied, setCopied] = useState(false)
  const lines = text === undefined || isCut ? undefined : jsonLines(text)
  const may = { json: lines !== undefined, text: text !== undefined, hex: true }
  const way = may[wanted] ? wanted : may.text ? 'text' : 'hex'
  const copy = async () => {
    await navigator.clipboard?.writeText(text ?? hexRows(bytes)).then(
      () => setCopied(true),
      () => {},
    )
  }
  return (
    <section>
      <div class="payload-head">
        <h3>{say('payload.title')}</h3>
        <fieldset class="segments" aria-label={say('payload.title')}>
          {ways.map(one => (
            <button key={one} type="button" aria-pressed={way === one} disabled={!may[one]} onClick={() => want(one)}>
              {say(`payload.${one}`)}
            </button>
          ))}
        </fieldset>
        {navigator.clipboard ? (
          <button type="button" class="plain" onClick={() => void copy()}>
            {say(isCopied ? 'payload.copied' : 'payload.copy')}
          </button>
        ) : null}
      </div>
      {bytes.length === 0 ? (
        <p class="hint">{say('message.empty')}</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard.
        <pre class="payload" tabIndex={0}>
          {way === 'json'
            ? lines?.map(({ depth, text, path, isPlain }, i) => {
                const kind = isPlain ? marked.get(path) : undefined
                return (
                  <span key={i} class="json-line" data-changed={kind} title={kind && say(`diff.${kind}`)}>
                    {'  '.repeat(depth)}
                    {linesSafe(text)}
                    {'\n'}
                  </span>
                )
              })
            : way === 'text'
              ? linesSafe(text ?? '')
              : hexRows(bytes)}
        </pre>
      )}
      {isCut ? <p class="hint">{say('message.cut')}</p> : null}
    </section>
  )
}

/** Returns a text whose lines stay lines, and whose other invisible characters can be seen. */
function linesSafe(text: string): string {
  return text
    .split('\n')
    .map(line => nameText(line.replaceAll('\t', '  ').replace(/\r$/, '')))
    .join('\n')
}
