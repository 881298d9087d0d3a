import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { asAdmin, connectMqtt, eventually, runCli, startHub } from '../harness.js'
import { openPage } from '../services/pages.js'
import { tempDir } from '../services/service.js'
import { isLive, signIn, startGuarded } from './guarded-hub.js'

/* The pages in German and Chinese: nothing on them is one of the English texts, or one of these filled in. */

type Texts = Readonly<Record<string, string>>
const folders = ['texts', 'values', 'delivery', 'device', 'logins', 'login', 'alerts', 'said', 'settings'] as const

async function textsOf(folder: string, language: string): Promise<Texts> {
  const module = new URL(`../../src/dashboard/${folder}/${language}.js`, import.meta.url).href
  return ((await import(module)) as Readonly<Record<string, Texts>>)[language] ?? {}
}

/** Returns patterns of the English texts that the language has other words for. */
async function englishOf(language: string): Promise<readonly RegExp[]> {
  const all = await Promise.all(folders.map(async name => [await textsOf(name, 'en'), await textsOf(name, language)]))
  const same = new Set(all.flatMap(([, own]) => Object.values(own ?? {})))
  return all.flatMap(([en]) => {
    const texts = Object.values(en ?? {}).filter(
      text => !same.has(text) && /[A-Za-z]{3}/.test(text.replace(/{\w+}/g, '')),
    )
    const escaped = (text: string) => text.replace(/[.*+?^$()|[\]\\/]/g, '\\$&')
    return texts.map(text => new RegExp(`^${escaped(text).replace(/{\w+}/g, '.+')}$`))
  })
}

/** Collects what is to be seen or read out on a page: texts, labels, titles and placeholders of what is shown. */
const collect = `(() => {
  const found = [document.title]
  for (const element of document.body.querySelectorAll('*')) {
    if (element.closest('script, code, pre') || !element.checkVisibility()) continue
    for (const name of ['aria-label', 'title', 'placeholder']) found.push(element.getAttribute(name) ?? '')
    for (const node of element.childNodes) if (node.nodeType === 3) found.push(node.data)
  }
  return found.map(text => text.trim()).filter(Boolean)
})()`

async function hasNoEnglish(t: Test, page: Page, language: string, what: string): Promise<void> {
  const english = await englishOf(language)
  const texts = await page.evaluate<readonly string[]>(collect)
  t.ok(texts.length > 5, `${what} has texts`)
  t.same(
    texts.filter(text => english.some(pattern => pattern.test(text))),
    [],
    `${what}, ${language}`,
  )
}

for (const language of ['de', 'zh']) {
  t.test(`Delivery, the wall and the page of a client: ${language}`, async t => {
    const hub = await startHub(t)
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'oven' })
    await device.publishAsync('home/kitchen/oven/telemetry', '{"temperature":21.5,"door_open":true}', { qos: 1 })
    await device.publishAsync('home/kitchen/oven/telemetry', '{"broken', { qos: 1 })
    const { page, close } = await openPage('about:blank')
    t.teardown(close)
    await page.addInitScript(`localStorage.setItem('telehub.language', '${language}')`)
    await page.goto(`${hub.httpUrl}/#balance`)
    await page.locator('.letter').waitFor()
    t.equal(await page.evaluate('document.documentElement.lang'), language)
    await hasNoEnglish(t, page, language, 'Delivery')
    await page.goto(`${hub.httpUrl}/#device=oven`)
    await page.locator('#device-state:not(:empty)').waitFor()
    await page.locator('.device-reading').first().waitFor()
    await hasNoEnglish(t, page, language, 'the page of a client')
    await page.goto(`${hub.httpUrl}/#values`)
    await page.locator('.tile').nth(1).waitFor()
    await hasNoEnglish(t, page, language, 'All values')
    const door = await page.locator('.tile', { hasText: 'door_open' }).locator('.tile-value').textContent()
    t.equal(door, language === 'de' ? 'ein' : '开', 'no state is read from a name')
  })

  t.test(`the login, and the page of logins: ${language}`, async t => {
    const hub = await startGuarded(t)
    const { page, close } = await openPage('about:blank')
    t.teardown(close)
    await page.addInitScript(`localStorage.setItem('telehub.language', '${language}')`)
    await page.goto(`${hub.httpUrl}/login?next=/%23account`)
    await signIn(page, 'anna', 'not the password')
    await page.locator('#error:not(:empty)').waitFor()
    await hasNoEnglish(t, page, language, 'the login')
    await signIn(page, 'anna')
    await eventually(() => isLive(page), 'live')
    await page.locator('.login-row').first().waitFor()
    await hasNoEnglish(t, page, language, 'the logins')
    await page.locator('#account-button').click()
    await hasNoEnglish(t, page, language, 'the menu of the account')
  })
}

t.test('the settings of a hub with TLS, in both languages', async t => {
  const certs = await tempDir()
  const made = runCli(['cert', '--name', 'hub.example.org'], {}, certs)
  t.equal(await made.exited, 0, made.stderr())
  const tls = { 'tls.cert': join(certs, 'certs/server.pem'), 'tls.key': join(certs, 'certs/server.key') }
  const hub = await startGuarded(t, tls)
  t.match(hub.httpUrl, /^https:/)
  for (const language of ['de', 'zh']) {
    const { page, close } = await openPage('about:blank', { anyCertificate: true })
    t.teardown(close)
    await page.addInitScript(`localStorage.setItem('telehub.language', '${language}')`)
    await page.goto(`${hub.httpUrl}/login?next=/%23settings`)
    await signIn(page, 'anna')
    await eventually(() => isLive(page), 'live')
    for (const part of ['users', 'explain', 'pair', 'keys', 'notify', 'kept', 'noise', 'certificate', 'audit']) {
      await page.goto(`${hub.httpUrl}/#settings&part=${part}`)
      await page.locator(`.set-part[data-part="${part}"]`).waitFor()
      await page.waitForLoadState('networkidle')
      await hasNoEnglish(t, page, language, part)
    }
    await page.goto(`${hub.httpUrl}/#settings&part=certificate`)
    await page.getByText('hub.example.org').first().waitFor()
  }
})

const words = {
  de: { alert: /Oven.*Temperatur: 250,5\u00a0°C, über 200\u00a0°C/, over: 'Diese Stummschaltung ist schon vorbei' },
  zh: { alert: /Oven.*温度：250\.5\u00a0°C，高于 200\u00a0°C/, over: '该静音已结束' },
} as const

for (const language of ['de', 'zh'] as const) {
  t.test(`alerts and what the hub refuses: ${language}`, async t => {
    const hub = await startHub(t)
    const headers = { ...asAdmin(hub.dir), 'content-type': 'application/json' }
    const post = async (path: string, body: object) => {
      const response = await fetch(hub.httpUrl + path, { method: 'POST', headers, body: JSON.stringify(body) })
      t.ok(response.ok, `${path} ${response.status}`)
      return (await response.json()) as { readonly id: string }
    }
    await post('/api/alerts/rules', { name: 'hot', rule: { field: 'temperature', above: 200 } })
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'oven' })
    await device.publishAsync('home/kitchen/oven/telemetry', '{"temperature":{"value":250.5,"unit":"°C"}}', { qos: 1 })
    const { page, close } = await openPage('about:blank')
    t.teardown(close)
    await page.addInitScript(`localStorage.setItem('telehub.language', '${language}')`)
    await page.goto(`${hub.httpUrl}/`)
    const need = page.locator('.need[data-level="warning"]')
    await need.waitFor()
    t.match(await need.textContent(), words[language].alert)
    await hasNoEnglish(t, page, language, 'Home')
    const mute = await post('/api/alerts/mute', { rule: 'hot', until: Date.now() + 3_600_000 })
    await page.goto(`${hub.httpUrl}/#alerts`)
    const item = page.locator('.alerts-item[data-state="firing"]')
    await item.locator('button').nth(1).waitFor()
    t.match(await item.textContent(), words[language].alert)
    await hasNoEnglish(t, page, language, 'Alerts')
    // The page must not learn of it before the click.
    await page.route('**/api/alerts?*', route => route.abort())
    await post('/api/alerts/unmute', { id: mute.id })
    await item.locator('button').nth(1).click()
    await page.locator('.alerts-trouble', { hasText: words[language].over }).waitFor()
  })
}
