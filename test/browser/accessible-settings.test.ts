import t from 'tap'
import { passwordOf, usersFile } from '../fixtures/users.js'
import { startHub } from '../harness.js'
import { openPage } from '../services/pages.js'
import { sizes, violationsLightAndDark } from './axe.js'
import { openDashboard } from './open-dashboard.js'

t.test('the page Settings', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow all #', 'allow read $hub/#'], { kind: 'admin' })
  await users.add('hall', ['allow publish home/hall/#', 'deny publish home/hall/secret'])
  const hub = await startHub(t, users.settings)
  for (const { width, height } of sizes) {
    const look = `${width} px`
    const { page } = await openDashboard(t, `${hub.httpUrl}/#settings`, { width, height })
    await page.locator('#user').fill('anna')
    await page.locator('#password').fill(passwordOf('anna'))
    await page.locator('#password').press('Enter')
    await page.getByText('2 users').waitFor()
    await page.getByRole('button', { name: 'Add a user' }).click()
    await page.locator('summary', { hasText: 'hall' }).click()
    t.same(await violationsLightAndDark(page), [], `users, ${look}`)
    await page.goto(`${hub.httpUrl}/#settings&part=explain&user=hall&action=publish&topic=home/hall/secret`)
    await page.locator('.set-verdict').waitFor()
    t.same(await violationsLightAndDark(page), [], `explain, ${look}`)
    await page.goto(`${hub.httpUrl}/#settings&part=pair&user=hall`)
    await page.getByRole('button', { name: 'Show a code' }).click()
    await page.locator('.set-qr').waitFor()
    t.same(await violationsLightAndDark(page), [], `a pairing code, ${look}`)
    for (const part of ['keys', 'mapping', 'notify', 'kept', 'certificate', 'audit', 'all']) {
      await page.goto(`${hub.httpUrl}/#settings&part=${part}`)
      await page.locator(`[data-part="${part}"] :is(.card, .set-audit-line)`).first().waitFor()
      t.same(await violationsLightAndDark(page), [], `${part}, ${look}`)
    }
    await page.goto(`${hub.httpUrl}/pair#ABCD-EFGH-JKMN`)
    await page.locator('#form').waitFor()
    t.same(await violationsLightAndDark(page), [], `the page of a code, ${look}`)
    await page.context().close()
  }
})

t.test('the login', async t => {
  const users = await usersFile()
  await users.add('anna', ['allow all #'], { kind: 'admin' })
  const hub = await startHub(t, users.settings)
  for (const { width, height } of sizes) {
    const { page, close } = await openPage(`${hub.httpUrl}/login`, { width, height })
    await page.locator('form').waitFor()
    t.same(await violationsLightAndDark(page), [], `${width} px`)
    await close()
  }
})
