import { useEffect, useState } from 'preact/hooks'
import { NoLogin } from './messages.js'
import { Code } from './pair-code.js'
import type { PartProperties } from './part.js'
import { fetchAllUsers, makePairing } from './requests.js'
import { useLoaded } from './use-loaded.js'
import { say } from './words.js'

export type Made = Awaited<ReturnType<typeof makePairing>> & { readonly name: string }

/** Pairing: a code, and a QR code of it, by which a device gets its credentials. */
export function Pair({ parameters }: PartProperties) {
  const { value: list, trouble: unread } = useLoaded(fetchAllUsers)
  const [name, setName] = useState(parameters.get('user') ?? '')
  const [made, setMade] = useState<Made>()
  const [trouble, setTrouble] = useState('')
  const named = parameters.get('user')
  useEffect(() => {
    if (named !== null) setName(named)
  }, [named])
  const go = async (event: Event) => {
    event.preventDefault()
    setTrouble('')
    try {
      setMade({ ...(await makePairing(name.trim())), name: name.trim() })
    } catch (error) {
      setTrouble(say('failed', { why: (error as Error).message }))
    }
  }
  if (list?.file === '') return <NoLogin />
  const devices = list?.users.filter(({ kind }) => kind === 'device') ?? []
  const isKnown = devices.some(one => one.name === name.trim())
  return (
    <>
      <div class="set-head">
        <h2>{say('pair.title')}</h2>
        <p class="hint">{say('pair.text')}</p>
      </div>
      {made ? (
        <Code key={made.code} made={made} onClose={() => setMade(undefined)} />
      ) : (
        <form class="card set-form" onSubmit={event => void go(event)}>
          <label>
            {say('pair.device')}
            <input
              type="text"
              required
              maxLength={64}
              pattern="[A-Za-z0-9][\w.@\-]*"
              title={say('form.name-hint')}
              list="pair-devices"
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              value={name}
              onInput={event => setName(event.currentTarget.value)}
            />
            <datalist id="pair-devices">
              {devices.map(one => (
                <option key={one.name} value={one.name} />
              ))}
            </datalist>
          </label>
          <p class="hint">{say(isKnown ? 'pair.known' : 'pair.new')}</p>
          <div class="set-acts">
            <button type="submit" class="plain strong">
              {say('pair.go')}
            </button>
          </div>
        </form>
      )}
      <p class="set-trouble" role="alert">
        {trouble || unread}
      </p>
    </>
  )
}
