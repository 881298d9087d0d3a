import t, { type Test } from 'tap'
import { encodeProperties } from '../../src/mqtt/message-properties.js'
import { parseTraceParent, SpanExporter, type TraceSpan, traceOf } from '../../src/observe/otel.js'
import { MessageSpans } from '../../src/pipeline/message-spans.js'
import { collector } from '../fixtures/collector.js'
import { connectMqtt, eventually, metric, startHub } from '../harness.js'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const parentId = '00f067aa0ba902b7'
const parent = { traceId, spanId: parentId, isSampled: true }

function exporter(t: Test, url: string, percent = 100) {
  let lost = 0
  const warnings: string[] = []
  const made = new SpanExporter({
    ...{ url, percent, everyMs: 5 },
    losses: { spansLost: count => (lost += count) },
    log: { warn: sentence => warnings.push(sentence), info: () => {} },
  })
  made.start()
  t.teardown(() => made.stop())
  return { made, warnings, lost: () => lost }
}

const span = { parent, name: 'telehub store', from: 1_796_040_681_449_000, to: 1_796_040_681_450_000, attributes: {} }

t.test('a traceparent is read as W3C Trace Context says', async t => {
  t.same(parseTraceParent(`00-${traceId}-${parentId}-01`), parent)
  t.match(parseTraceParent(`00-${traceId}-${parentId}-00`), { isSampled: false })
  t.match(parseTraceParent(`cc-${traceId}-${parentId}-01-later`), parent)
  for (const wrong of [
    '',
    `00-${traceId}-${parentId}`,
    `00-${traceId}-${parentId}-01-more`,
    `ff-${traceId}-${parentId}-01`,
    `00-${'0'.repeat(32)}-${parentId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${parentId}-01`,
  ]) {
    t.equal(parseTraceParent(wrong), undefined, wrong)
  }
})

t.test('messages without a sampled trace make no span, and others are handed on with a new one', async t => {
  const properties = encodeProperties({ userProperties: [['traceparent', `00-${traceId}-${parentId}-01`]] }) as Buffer
  t.same(traceOf({ properties }), parent)
  t.equal(traceOf({ properties: encodeProperties({ contentType: 'traceparent' }) as Buffer }), undefined)
  t.equal(traceOf({}), undefined)
  const { made } = exporter(t, 'http://127.0.0.1:9', 50)
  const spans = Array.from({ length: 1_000 }, (_, i) => ({
    ...parent,
    traceId: `${traceId.slice(0, 24)}${(i * 4_294_967).toString(16).padStart(8, '0')}`,
  }))
  t.equal(spans.filter(one => made.takes(one)).length, 501)
  t.notOk(made.takes({ ...parent, isSampled: false }))
  const added: string[] = []
  const sink = { takes: () => true, add: ({ name, spanId }: TraceSpan) => void added.push(`${name} ${spanId}`) }
  const message = {
    sequence: 1,
    receivedAt: 1,
    topic: 'a',
    payload: Buffer.from('x'),
    qos: 1,
    retain: false,
    clientId: 'c',
    user: '',
    packetId: 1,
  } as const
  const spansOf = new MessageSpans(sink, { now: () => 2 })
  spansOf.passed('one', { ...message, properties }, { spanId: parentId })
  spansOf.passed('two', message)
  t.same(added, [`one ${parentId}`])
  const handed: unknown[] = []
  await spansOf.around('three', [{ ...message, properties }, message], async messages => {
    handed.push(...messages.map(one => traceOf(one)))
    t.equal(messages[1], message)
  })
  const [next] = handed as [{ spanId: string }]
  t.match(handed, [{ traceId, isSampled: true }, undefined])
  t.not(next.spanId, parentId)
  t.same(added.slice(1), [`three ${next.spanId}`], 'the span of the hop is the parent of the next')
})

t.test('a collector that is down gets the spans later', async t => {
  const { url, spans, requests } = await collector(t, request => (request < 3 ? 503 : 200))
  const { made, lost, warnings } = exporter(t, url)
  for (let i = 0; i < 1_000; i++) made.add(span)
  await eventually(() => spans.length === 1_000, 'all spans')
  t.equal(new Set(spans.map(({ spanId }) => spanId)).size, 1_000)
  t.equal(requests(), 4)
  t.equal(lost(), 0)
  t.equal(warnings.length, 1)
})

t.test('spans beyond the queue, refused ones and those left at the stop are lost and counted', async t => {
  const refusing = await collector(t, () => 400)
  const first = exporter(t, refusing.url)
  first.made.add(span)
  await eventually(() => first.lost() === 1, 'one is refused')
  const partly = await collector(t, () => 200, '{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}')
  const second = exporter(t, partly.url)
  second.made.add(span)
  await eventually(() => second.lost() === 2, 'as the collector says')
  const gone = exporter(t, 'http://127.0.0.1:1')
  for (let i = 0; i < 10_000; i++) gone.made.add(span)
  t.equal(gone.lost(), 10_000 - 8_192)
  await gone.made.stop()
  t.equal(gone.lost(), 10_000)
})

t.test('a message with a traceparent becomes a span when stored, and one with its reason when dead', async t => {
  const { url, spans } = await collector(t)
  const hub = await startHub(t, { 'otel.url': url })
  const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo', protocolVersion: 5 })
  const userProperties = { traceparent: `00-${traceId}-${parentId}-01` }
  await device.publishAsync('hall/t', '{"value": 1}', { qos: 1, properties: { userProperties } })
  await device.publishAsync('hall/t', '{"value": 2}', { qos: 1 })
  await device.publishAsync('hall/t', '{"half', { qos: 1, properties: { userProperties } })
  await eventually(() => spans.length === 2, 'two spans')
  const [stored, dead] = spans
  t.match(stored, { traceId, parentSpanId: parentId, name: 'telehub store', kind: 5 })
  t.equal(stored?.status, undefined)
  t.match(dead, { traceId, status: { code: 2, message: 'bad_json' } })
  t.not(stored?.spanId, dead?.spanId)
  t.match(stored?.attributes.find(({ key }) => key === 'messaging.destination.name')?.value, { stringValue: 'hall/t' })
  t.match(stored?.attributes.find(({ key }) => key === 'telehub.sequence')?.value, { intValue: '1' })
  t.equal(await metric(hub, 'telehub_otel_spans_lost_total'), 0)
})

t.test(
  'each delivery of a sampled message is a span, and the message keeps the traceparent of its publisher',
  async t => {
    const { url, spans } = await collector(t)
    const hub = await startHub(t, { 'otel.url': url })
    const got: unknown[] = []
    for (const [clientId, qos] of [
      ['one', 0],
      ['two', 1],
    ] as const) {
      const reader = await connectMqtt(t, hub.mqttUrl, { clientId, protocolVersion: 5 })
      await reader.subscribeAsync('hall/#', { qos })
      reader.on('message', (_topic, _payload, { properties }) => got.push(properties?.userProperties?.traceparent))
    }
    const device = await connectMqtt(t, hub.mqttUrl, { clientId: 'thermo', protocolVersion: 5 })
    const sampled = `00-${traceId}-${parentId}-01`
    for (const traceparent of [sampled, `00-${traceId}-${parentId}-00`]) {
      const properties = { userProperties: { traceparent } }
      await device.publishAsync('hall/t', '{"value": 1}', { qos: 1, properties })
    }
    const delivered = () => spans.filter(({ name }) => name === 'telehub deliver')
    await eventually(() => got.length === 4 && delivered().length === 2, 'both deliveries')
    t.equal(got.filter(text => text === sampled).length, 2)
    t.match(delivered(), [
      { traceId, parentSpanId: parentId, kind: 4 },
      { traceId, parentSpanId: parentId, kind: 4 },
    ])
    const readers = delivered().map(span => span.attributes.find(({ key }) => key === 'messaging.client.id')?.value)
    t.same(readers.map(value => value?.stringValue).sort(), ['one', 'two'])
  },
)
