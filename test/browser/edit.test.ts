import type { MqttClient } from 'mqtt'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { connectMqtt, eventually, type startHub as Start, startHub } from '../harness.js'
import { openDashboard } from './open-dashboard.js'

type Hub = Awaited<ReturnType<typeof Start>>

interface Home {
  readonly areas: readonly { readonly name: string }[]
  readonly devices: readonly { readonly id: string; readonly name: string; readonly area?: string }[]
}

const publish = (device: MqttClient, topic: string, payload: unknown) =>
  device.publishAsync(topic, JSON.stringify(payload), { qos: 1 })

/** A hub with three devices in the kitchen and one in the hall. */
async function withDevices(t: Test): Promise<{ readonly hub: Hub; readonly device: MqttClient }> {
  const hub = await startHub(t)
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'd1' })
  for (const name of ['kitchen/a', 'kitchen/b', 'kitchen/c', 'hall/d']) {
    await publish(device, `home/${name}/telemetry`, { temperature: 21, humidity: 40 })
  }
  return { hub, device }
}

const homeOf = async (hub: Hub) => (await (await fetch(`${hub.httpUrl}/api/home`)).json()) as Home
const orderIn = async (hub: Hub, area: string) =>
  (await homeOf(hub)).devices.filter(one => one.area === area).map(({ name }) => name)
const namesOn = (page: Page, area: string) =>
  page.locator(`[data-drop-key="a:${area}"] .arrange-name bdi`).allTextContents()

async function editing(t: Test, hub: Hub): Promise<{ readonly page: Page; readonly problems: readonly string[] }> {
  const { page, problems } = await openDashboard(t, `${hub.httpUrl}/`)
  await page.getByRole('button', { name: 'Edit', exact: true }).click()
  await page.locator('.arrange-device').nth(3).waitFor()
  return { page, problems }
}

const note = (page: Page) => page.locator('.arrange-head .arrange-note')
const rename = async (page: Page, from: string, to: string) => {
  await page.getByRole('button', { name: new RegExp(`^Change ${from}\\b`) }).click()
  const field = page.locator('dialog.editor').getByLabel('Name', { exact: true }).first()
  await field.fill(to)
  await field.press('Enter')
  await page.locator('dialog.editor [role="status"]', { hasText: 'Saved.' }).waitFor()
  await page.keyboard.press('Escape')
}

t.test('order by keyboard and by pointer, over areas, and undo', async t => {
  const { hub } = await withDevices(t)
  const { page, problems } = await editing(t, hub)
  t.same(await namesOn(page, 'Kitchen'), ['A', 'B', 'C'])
  await page.getByRole('button', { name: 'Move A later' }).focus()
  await page.keyboard.press('Enter')
  await eventually(async () => (await orderIn(hub, 'Kitchen')).join() === 'B,A,C', 'in the hub')
  t.equal(await page.evaluate('document.activeElement.ariaLabel'), 'Move A later', 'the focus goes along')
  await page.keyboard.press('Enter')
  await eventually(async () => (await orderIn(hub, 'Kitchen')).join() === 'B,C,A', 'and again')
  t.equal(await page.evaluate('document.activeElement.ariaLabel'), 'Move A earlier', 'at the end, the way back')

  const handle = page.locator('[data-drop-key="a:Kitchen"] li', { hasText: 'B' }).locator('.drag-handle')
  const { x = 0, y = 0, width = 0, height = 0 } = (await handle.boundingBox()) ?? {}
  const target = await page.locator('[data-drop-key="a:Hall"] li').boundingBox()
  await page.mouse.move(x + width / 2, y + height / 2)
  await page.mouse.down()
  await page.mouse.move((target?.x ?? 0) + 50, (target?.y ?? 0) + (target?.height ?? 0) - 4, { steps: 5 })
  t.equal(await page.locator('[data-drop="after"]').count(), 1, 'one sees where it would go')
  await page.mouse.up()
  await eventually(async () => (await orderIn(hub, 'Hall')).join() === 'D,B', 'in the other area')
  t.same(await namesOn(page, 'Hall'), ['D', 'B'])

  await page.getByRole('button', { name: 'Move Kitchen earlier' }).click()
  await eventually(
    async () => (await homeOf(hub)).areas.map(({ name }) => name).join() === 'Kitchen,Hall',
    'the order of areas',
  )
  await page.getByRole('button', { name: /^Undo “order of areas/ }).click()
  await eventually(async () => (await homeOf(hub)).areas[0]?.name === 'Hall', 'undone')
  t.match(await note(page).textContent(), 'Undone: order of areas')
  t.same(problems, [])
})

t.test('names, areas, values and limits are kept in the hub, and count at once', async t => {
  const { hub, device } = await withDevices(t)
  const { page, problems } = await editing(t, hub)
  await page.getByRole('button', { name: /^Change A\b/ }).click()
  const sheet = page.locator('dialog.editor')
  const fill = async (label: string, text: string, at = 0) => {
    await sheet.getByLabel(label, { exact: true }).nth(at).fill(text)
    // The note may still be that of the change before: only the answer says that this one is saved.
    const answered = page.waitForResponse(response => response.request().method() === 'PATCH')
    await sheet.getByLabel(label, { exact: true }).nth(at).press('Enter')
    await answered
    await sheet.locator('.arrange-note', { hasText: 'Saved.' }).waitFor()
    await eventually(async () => (await sheet.locator('[data-trouble="true"]').count()) === 0, label)
  }
  await fill('Name', 'Deep freezer')
  await sheet.getByRole('combobox').selectOption({ label: 'New area …' })
  await fill('Name of the new area', 'Cellar')
  await sheet.locator('label', { hasText: 'Freezer' }).last().click()
  const humidity = sheet.locator('.edit-value', { hasText: 'Humidity' })
  await humidity.locator('input[type="checkbox"]').first().uncheck()
  const temperature = sheet.locator('.edit-value', { hasText: 'Temperature' })
  await temperature.locator('summary').click()
  await fill('Decimals', '2', 0)
  await temperature.getByLabel('Decimals').fill('many')
  await temperature.getByLabel('Decimals').press('Enter')
  await temperature.getByText('A whole number from 0 to 12.').waitFor()
  await temperature.getByLabel('Decimals').press('Escape')
  await fill('Very high above', '25,5')
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'Hide B', exact: true }).click()
  await eventually(async () => (await note(page).textContent()) === 'B is hidden.', 'hidden')
  await page.getByRole('button', { name: 'Done' }).click()

  const card = page.locator('.thing', { hasText: 'Deep freezer' })
  await card.waitFor()
  t.same(await page.locator('.area-name').allTextContents(), ['Cellar', 'Hall', 'Kitchen'])
  t.match(await card.locator('.main-value').allTextContents(), ['Temperature21.00'])
  await eventually(async () => (await page.locator('.thing').count()) === 3, 'one is hidden')
  await publish(device, 'home/kitchen/a/telemetry', { temperature: 26, humidity: 40 })
  await page.locator('.thing[data-level="bad"]').waitFor()
  t.match(await card.locator('.now').first().textContent(), /26\.00.*very high/, 'in words, too')
  await page.locator('.need', { hasText: 'Deep freezer: Temperature is very high' }).waitFor()
  await page.getByText('Only what is wrong').click()
  await eventually(async () => (await page.locator('.thing').count()) === 1, 'only what is wrong')
  await publish(device, 'home/kitchen/a/telemetry', { temperature: 25, humidity: 40 })
  await page.getByText('Nothing is wrong here.').waitFor()
  t.same(problems, [])
})

t.test('two people at once: told of each other, and nothing that was typed is lost', async t => {
  const { hub } = await withDevices(t)
  const [one, other] = [await editing(t, hub), await editing(t, hub)]
  await rename(other.page, 'B', 'Lamp')
  await eventually(async () => (await namesOn(one.page, 'Kitchen')).join() === 'A,C,Lamp', 'seen by the other')
  await eventually(async () => /changed “Lamp: name”/.test((await note(one.page).textContent()) ?? ''), 'and said')

  await one.page.getByRole('button', { name: /^Change A\b/ }).click()
  const field = one.page.locator('dialog.editor').getByLabel('Name', { exact: true }).first()
  await field.fill('Mine')
  await rename(other.page, 'A', 'Theirs')
  const theirs = one.page.locator('.field-theirs')
  await theirs.waitFor()
  t.match(await theirs.textContent(), 'Theirs')
  t.equal(await field.inputValue(), 'Mine', 'what was typed is there')
  await field.press('Enter')
  t.same((await orderIn(hub, 'Kitchen')).includes('Theirs'), true, 'and not saved over theirs by itself')
  await theirs.getByRole('button', { name: 'Save mine' }).click()
  await eventually(async () => (await orderIn(hub, 'Kitchen')).includes('Mine'), 'until one says so')
  await one.page.keyboard.press('Escape')
  await one.page.getByRole('button', { name: /^Undo “Mine: name/ }).click()
  await eventually(async () => (await orderIn(hub, 'Kitchen')).includes('Theirs'), 'undone')

  // A change that this page has not heard of yet is of something else: both stay.
  await one.page.route('**/api/home*', route => route.abort())
  const patch = { devices: { 'home/hall/d/telemetry': { hidden: true } } }
  const headers = { 'content-type': 'application/json' }
  await fetch(`${hub.httpUrl}/api/boards`, { method: 'PATCH', headers, body: JSON.stringify(patch) })
  await one.page.getByRole('button', { name: 'Hide C', exact: true }).click()
  await eventually(async () => /both stay/.test((await note(one.page).textContent()) ?? ''), 'both')
  const boards = (await (await fetch(`${hub.httpUrl}/api/boards`)).json()) as { devices: Record<string, object> }
  t.match(Object.values(boards.devices).filter(edit => 'hidden' in edit).length, 2)
  t.same(other.problems, [])
})
