import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { encodeProperties } from '../../src/mqtt/message-properties.js'
import { parseTraceParent, SpanExporter, type TraceSpan } from '../../src/observe/otel.js'
import { MessageSpans, traceOf } from '../../src/pipeline/message-spans.js'
import { connectMqtt, eventually, metric, startHub } from '../harness.js'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const parentId = '00f067aa0ba902b7'
const parent = { traceId, spanId: parentId, isSampled: true }

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly intValue?: string }
}

interface SentSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status?: { readonly code: number; readonly message: string }
}

/** A collector that judges by the published shape: opentelemetry-proto, trace/v1/trace.proto, in the JSON of OTLP. */
async function collector(t: Test, statusOf: (request: number) => number = () => 200, answer = '{}') {
  const spans: SentSpan[] = []
  let requests = 0
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const status = statusOf(++requests)
    response.writeHead(status, { 'content-type': 'application/json' }).end(answer)
    if (status !== 200) return
    t.equal(request.url, '/v1/traces')
    t.equal(request.headers['content-type'], 'application/json')
    const body = JSON.parse(Buffer.concat(parts).toString())
    t.same(Object.keys(body), ['resourceSpans'])
    for (const { resource, scopeSpans } of body.resourceSpans) {
      t.same(resource.attributes, [{ key: 'service.name', value: { stringValue: 'telehub' } }])
      for (const { scope, spans: sent } of scopeSpans) {
        t.same(scope, { name: 'telehub' })
        spans.push(...sent)
      }
    }
    for (const span of spans) {
      t.match(span.traceId, /^[\da-f]{32}$/)
      t.match(span.spanId, /^[\da-f]{16}$/)
      t.match(span.parentSpanId, /^[\da-f]{16}$/)
      t.ok(Number.isInteger(span.kind) && span.kind >= 0 && span.kind <= 5)
      t.match(span.startTimeUnixNano, /^\d{19}$/)
      t.ok(BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano))
      for (const { key, value } of span.attributes) {
        t.type(key, 'string')
        t.equal(Object.keys(value).length, 1)
        if (value.intValue !== undefined) t.match(value.intValue, /^-?\d+$/)
      }
    }
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { spans, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests: () => requests }
}

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
