import { useEffect, useState } from 'preact/hooks'
import { hubNow } from '../api.js'
import { nameText } from '../wording.js'
import { Copy } from './copy.js'
import { clockText } from './moments.js'
import type { Made } from './pair.js'
import { QrCode } from './qr.js'
import { fetchUser, type UserRow } from './requests.js'
import { say } from './words.js'

/** Time between two questions whether the device has paired. */
const everyMs = 2_000

const isLocal = (url: string) => /^https?:\/\/(localhost|127\.|\[::1\])/.test(url)

/** The code as text and as QR code, how long it is valid, and what has become of it. */
export function Code({ made, onClose }: { readonly made: Made; readonly onClose: () => void }) {
  const { name, code, expires, addresses } = made
  const own = location.origin
  // An address of this machine alone is of no use to a phone.
  const choices = [...new Set(isLocal(own) ? [...addresses, own] : [own, ...addresses])]
  const [base, setBase] = useState(choices[0] ?? own)
  const [now, setNow] = useState(hubNow())
  const [user, setUser] = useState<UserRow>()
  const paired = user && user.pairing === undefined ? user.paired : undefined
  const isOver = now >= expires
  useEffect(() => {
    if (paired && user?.online) return undefined
    const clock = setInterval(() => setNow(hubNow()), 1_000)
    const asking = setInterval(() => {
      // The hub may be away for a moment; the next answer says the same.
      void fetchUser(name).then(setUser, () => {})
    }, everyMs)
    return () => {
      clearInterval(clock)
      clearInterval(asking)
    }
  }, [paired === undefined, user?.online === 0])
  const device = nameText(name)
  const address = `${base}/pair#${code}`
  return (
    <section class="card set-pair" aria-labelledby="code-title">
      <h2 id="code-title">
        <bdi>{say('code.title', { device })}</bdi>
      </h2>
      {paired ? null : isOver ? (
        <p class="set-warning">{say('code.over')}</p>
      ) : (
        <div class="set-pair-code">
          <QrCode text={address} label={say('code.qr', { device })} />
          <div class="set-pair-text">
            <p>{say('code.scan')}</p>
            <p class="set-code">
              <strong>{code}</strong> <Copy text={code} what={say('code.code')} />
            </p>
            <p class="set-secret-line">
              <code>{address}</code> <Copy text={address} what={say('code.address')} />
            </p>
            {choices.length > 1 ? (
              <label>
                {say('code.base')}{' '}
                <select value={base} onChange={event => setBase(event.currentTarget.value)}>
                  {choices.map(one => (
                    <option key={one} value={one}>
                      {one}
                    </option>
                  ))}
                </select>
              </label>
            ) : null}
            {isLocal(base) ? <p class="set-warning">{say('code.local')}</p> : null}
            <p class="hint">
              {say('code.left', { span: leftText(expires - now), time: clockText(expires) })} {say('code.once')}
            </p>
          </div>
        </div>
      )}
      <p role="status" class={paired ? 'set-good' : 'hint'}>
        {paired
          ? say('code.paired', { device, time: clockText(paired.at), address: paired.address })
          : isOver
            ? ''
            : say('code.waits')}
      </p>
      {paired ? (
        <p role="status" class={user?.online ? 'set-good' : 'hint'}>
          {say(user?.online ? 'code.connected' : 'code.not-connected', { device })}
        </p>
      ) : null}
      <div class="set-acts">
        <button type="button" class="plain" onClick={onClose}>
          {say(paired || isOver ? 'code.next' : 'code.close')}
        </button>
        <a class="plain" href={`#settings&part=users&user=${encodeURIComponent(name)}`}>
          {say('code.user')}
        </a>
      </div>
    </section>
  )
}

function leftText(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1_000))
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}
