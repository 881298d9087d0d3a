import { useEffect, useState } from 'preact/hooks'
import { PushSubscriber } from '../push.js'
import { say } from './words.js'

/** Notifications on this browser: on or off, and why not where they are not possible. */
export function ThisBrowser() {
  const [subscriber] = useState(() => new PushSubscriber())
  const [, setDrawn] = useState(0)
  const [trouble, setTrouble] = useState('')
  const [isBusy, setBusy] = useState(false)
  const draw = () => setDrawn(drawn => drawn + 1)
  useEffect(() => {
    void subscriber.start().then(draw)
  }, [])
  const { isPossible, isOn } = subscriber
  const toggle = async () => {
    setBusy(true)
    setTrouble('')
    const texts = { title: say('push.welcome'), body: say('push.welcome-text'), refused: say('push.refused') }
    await subscriber
      .toggle(texts)
      .catch((error: unknown) => setTrouble(say('failed', { why: (error as Error).message })))
    setBusy(false)
    draw()
  }
  return (
    <section class="alerts-group" aria-labelledby="browser-title">
      <h2 id="browser-title">{say('push.title')}</h2>
      <p>{isPossible ? say(isOn ? 'push.on' : 'push.off') : say('push.impossible')}</p>
      {isPossible ? (
        <p>
          <button
            type="button"
            class={isOn ? 'plain' : 'plain primary'}
            aria-pressed={isOn}
            disabled={isBusy}
            onClick={() => void toggle()}
          >
            {say(isOn ? 'push.stop' : 'push.start')}
          </button>
        </p>
      ) : null}
      <p class="alerts-trouble" role="alert">
        {trouble}
      </p>
    </section>
  )
}
