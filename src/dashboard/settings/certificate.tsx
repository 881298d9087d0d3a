import { hubNow } from '../api.js'
import { nameText } from '../wording.js'
import { Copy } from './copy.js'
import { dayText } from './moments.js'
import { type CertificateAnswer, fetchCertificate } from './requests.js'
import { save } from './save.js'
import { useLoaded } from './use-loaded.js'
import { say, sayCount } from './words.js'

const dayMs = 86_400_000

/** Days before the end from which on the end is shown in colour. */
const soonDays = 30

type Shown = NonNullable<CertificateAnswer['certificate']>

/** The certificate that the hub shows, until when, what devices need of it, and how to renew it. */
export function Certificate() {
  const { value, trouble } = useLoaded(fetchCertificate)
  if (!value) {
    return trouble === '' ? (
      <p class="hint">{say('loading')}</p>
    ) : (
      <p class="set-trouble" role="alert">
        {trouble}
      </p>
    )
  }
  const { certificate, authority, clients, warning } = value
  return (
    <>
      <div class="set-head">
        <h2>{say('part.certificate')}</h2>
      </div>
      {warning === undefined ? null : (
        <p class="set-warning">
          <bdi>{warning}</bdi>
        </p>
      )}
      {certificate ? <Facts certificate={certificate} /> : <p class="card">{say('certificate.none')}</p>}
      {authority ? (
        <section class="card" aria-labelledby="authority-title">
          <h2 id="authority-title">{say('authority.title')}</h2>
          <p>{say('authority.text')}</p>
          <dl class="set-facts">
            <dt>{say('certificate.subject')}</dt>
            <dd>
              <bdi>{nameText(authority.subject)}</bdi>
            </dd>
            <dt>{say('certificate.until')}</dt>
            <dd>{dayText(authority.to)}</dd>
            <dt>{say('certificate.fingerprint')}</dt>
            <dd>
              <code>{authority.fingerprint}</code>
            </dd>
            <dt>{say('certificate.file')}</dt>
            <dd>
              <bdi>{authority.file}</bdi>
            </dd>
          </dl>
          <div class="set-acts">
            <button
              type="button"
              class="plain"
              onClick={() => save('ca.pem', [authority.pem], 'application/x-pem-file')}
            >
              {say('authority.download')}
            </button>
            <Copy text={authority.pem} what="ca.pem" />
          </div>
        </section>
      ) : null}
      {clients ? (
        <p class="card">{say(clients.required ? 'clients.required' : 'clients.optional', { file: clients.file })}</p>
      ) : null}
      <section class="card" aria-labelledby="renew-title">
        <h2 id="renew-title">{say(certificate ? 'renew.title' : 'renew.first')}</h2>
        <p>{say(authority || !certificate ? 'renew.own' : 'renew.foreign')}</p>
        {authority || !certificate ? (
          <pre>
            <code>telehub cert</code>
          </pre>
        ) : null}
      </section>
    </>
  )
}

function Facts({ certificate }: { readonly certificate: Shown }) {
  const { subject, issuer, names, from, to, fingerprint, file, selfSigned } = certificate
  const days = Math.floor((to - hubNow()) / dayMs)
  const state = days < 0 ? 'over' : days < soonDays ? 'soon' : 'good'
  return (
    <section class="card set-certificate" data-state={state} aria-labelledby="left-title">
      <h2 id="left-title">
        {days < 0 ? say('certificate.over', { day: dayText(to) }) : sayCount('certificate.left', days)}
      </h2>
      <dl class="set-facts">
        <dt>{say('certificate.subject')}</dt>
        <dd>
          <bdi>{nameText(subject)}</bdi>
        </dd>
        <dt>{say('certificate.names')}</dt>
        <dd>
          <bdi>{names.map(nameText).join(', ')}</bdi>
        </dd>
        <dt>{say('certificate.issuer')}</dt>
        <dd>
          <bdi>{nameText(issuer)}</bdi> {selfSigned ? say('certificate.self') : ''}
        </dd>
        <dt>{say('certificate.valid')}</dt>
        <dd>{say('certificate.span', { from: dayText(from), to: dayText(to) })}</dd>
        <dt>{say('certificate.fingerprint')}</dt>
        <dd>
          <code>{fingerprint}</code>
        </dd>
        <dt>{say('certificate.file')}</dt>
        <dd>
          <bdi>{file}</bdi>
        </dd>
      </dl>
    </section>
  )
}
