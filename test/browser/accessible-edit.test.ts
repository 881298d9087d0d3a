import t from 'tap'
import { Member } from '../../devices/member.js'
import { realHome } from '../../devices/real-home.js'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { connectMqtt, startHub } from '../harness.js'
import { sizes, violations, violationsLightAndDark } from './axe.js'
import { openDashboard } from './open-dashboard.js'

t.test('editing a home, a board, and its link', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow all #'], { kind: 'admin' })
  await users.add('meter', ['allow all #'])
  const hub = await startHub(t, users.settings)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1', username: 'meter', password: passwordOf('meter') })
  for (const name of ['kitchen/a', 'hall/b'])
    await device.publishAsync(`home/${name}/telemetry`, '{"temperature":21}', { qos: 1 })
  for (const { width, height } of sizes) {
    const look = `${width} px`
    const { page } = await openDashboard(t, `${hub.httpUrl}/login`, { width, height })
    await page.locator('#user').fill('anna')
    await page.locator('#password').fill(passwordOf('anna'))
    await page.keyboard.press('Enter')
    await page.locator('.thing').nth(1).waitFor()
    await page.getByRole('button', { name: 'Edit', exact: true }).click()
    await page.locator('.arrange-device').nth(1).waitFor()
    t.same(await violationsLightAndDark(page), [], `the mode in which one edits, ${look}`)
    await page.getByRole('button', { name: /^Change A\b/ }).click()
    await page.locator('dialog.editor').waitFor()
    t.same(await violationsLightAndDark(page), [], `the editor of a device, ${look}`)
    await page.keyboard.press('Escape')
    await page.goto(`${hub.httpUrl}/`)
    await page.getByRole('button', { name: 'New board' }).click()
    const sheet = page.locator('dialog.editor')
    await sheet.getByRole('button', { name: 'Make a link' }).click()
    await sheet.getByText('Copy the link now').waitFor()
    t.same(await violationsLightAndDark(page), [], `the editor of a board with a link, ${look}`)
    await page.context().close()
  }
})

t.test('forced colours, and reduced motion', async t => {
  const hub = await startHub(t)
  const members = realHome(1).map(behaviour => new Member({ url: hub.mqttUrl, behaviour }))
  for (const member of members) member.start()
  t.teardown(() => Promise.all(members.map(member => member.stop(2_000))))
  const places: readonly (readonly [address: string, seen: string])[] = [
    ['', '.thing'],
    ['#values', '.tile'],
    ['#alerts', '.alerts-tabs, #alerts h1'],
    ['#balance', '#sum li'],
    ['#explore', '.level'],
    ['#clients', '.client'],
  ]
  const { page } = await openDashboard(t, `${hub.httpUrl}/`, { width: 1440, height: 900 })
  await page.getByText('15 devices', { exact: true }).waitFor()
  await page.emulateMedia({ forcedColors: 'active', reducedMotion: 'reduce' })
  for (const [address, seen] of places) {
    await page.goto(`${hub.httpUrl}/${address}`)
    await page.locator(seen).first().waitFor()
    t.same(await violations(page), [], `${address || 'Home'} in forced colours`)
    t.same(await page.evaluate(moving), [], `nothing moves on ${address || 'Home'}`)
  }
  await page.goto(`${hub.httpUrl}/`)
  await page.locator('.thing-link', { hasText: 'Living room lamp' }).click()
  await page.locator('dialog.sheet').waitFor()
  t.same(await violations(page), [], 'the sheet of a device in forced colours')
  t.same(await page.evaluate(moving), [], 'nothing moves on the sheet')
  await page.keyboard.press('Escape')
  await page.keyboard.press('Tab')
  const focused = await page.evaluate<string>('getComputedStyle(document.activeElement).outlineStyle')
  t.not(focused, 'none', 'the focus is seen')
})

/** Animations that run, but for those that only end the green of the connection. */
const moving = `document.getAnimations().map(one => one.animationName ?? one.transitionProperty)
  .filter(name => !String(name).startsWith('unknown-'))`
