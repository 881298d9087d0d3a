import { useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { momentOf } from './moment.js'
import { publish } from './requests.js'
import { say } from './words.js'

/** A form that publishes a message, and says when it is on disk. */
export function Publish({ given }: { readonly given: string }) {
  const [topic, setTopic] = useState(given)
  const [payload, setPayload] = useState('')
  const [qos, setQos] = useState(1)
  const [retain, setRetain] = useState(false)
  const [expiry, setExpiry] = useState('')
  const [contentType, setContentType] = useState('')
  const [responseTopic, setResponseTopic] = useState('')
  const [isBusy, setBusy] = useState(false)
  const [done, setDone] = useState('')
  const [trouble, setTrouble] = useState('')
  const hasWildcard = /[+#]/.test(topic)
  const send = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    setDone('')
    setTrouble('')
    try {
      const message = {
        ...{ topic, payload, qos: qos as 0 | 1 | 2, retain, encoding: 'text' as const },
        ...(expiry !== '' && { messageExpiry: Number(expiry) }),
        ...(contentType !== '' && { contentType }),
        ...(responseTopic !== '' && { responseTopic }),
      }
      const sequence = await publish(message)
      setDone(say('publish.done', { sequence, time: momentOf(hubNow()) }))
    } catch (error) {
      setTrouble(say('publish.failed', { why: (error as Error).message }))
    }
    setBusy(false)
  }
  return (
    <form class="publish card" onSubmit={event => void send(event)}>
      <label>
        {say('publish.topic')}
        <input
          required
          value={topic}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          aria-invalid={hasWildcard}
          aria-describedby="publish-wildcard"
          onInput={event => setTopic(event.currentTarget.value)}
        />
      </label>
      <p class="trouble" id="publish-wildcard">
        {hasWildcard ? say('publish.wildcard') : ''}
      </p>
      <label>
        {say('publish.payload')}
        <textarea
          rows={6}
          value={payload}
          spellcheck={false}
          aria-describedby="publish-check"
          onInput={event => setPayload(event.currentTarget.value)}
        />
      </label>
      <p class="hint" id="publish-check">
        {checkOf(payload)} {payload === '' && retain ? say('publish.clears') : ''}
      </p>
      <div class="publish-line">
        <span id="publish-qos">{say('publish.qos')}</span>
        <fieldset class="segments" aria-labelledby="publish-qos">
          {[0, 1, 2].map(one => (
            <button key={one} type="button" aria-pressed={qos === one} onClick={() => setQos(one)}>
              {one}
            </button>
          ))}
        </fieldset>
        <label class="toggle">
          <input type="checkbox" checked={retain} onChange={event => setRetain(event.currentTarget.checked)} />
          {say('publish.retain')}
        </label>
      </div>
      <details>
        <summary>{say('publish.more')}</summary>
        <label>
          {say('publish.expiry')}
          <input
            type="number"
            min="0"
            max="4294967295"
            value={expiry}
            onInput={event => setExpiry(event.currentTarget.value)}
          />
        </label>
        <label>
          {say('publish.content-type')}
          <input value={contentType} onInput={event => setContentType(event.currentTarget.value)} />
        </label>
        <label>
          {say('publish.response-topic')}
          <input value={responseTopic} onInput={event => setResponseTopic(event.currentTarget.value)} />
        </label>
      </details>
      <div class="publish-line">
        <button type="submit" class="plain strong" disabled={isBusy || topic === '' || hasWildcard}>
          {say(isBusy ? 'publish.sending' : 'publish.send')}
        </button>
        <p role="status" class="publish-done">
          {done}
        </p>
      </div>
      <p role="alert" class="trouble">
        {trouble}
      </p>
    </form>
  )
}

/** Says of a payload that begins like JSON whether it is. */
function checkOf(payload: string): string {
  if (payload === '') return say('publish.empty')
  if (!/^\s*[[{"]/.test(payload)) return say('publish.plain')
  try {
    JSON.parse(payload)
    return say('publish.json')
  } catch (error) {
    return say('publish.no-json', { why: (error as Error).message })
  }
}
