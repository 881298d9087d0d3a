import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type ConnectOptions, RawClient } from '../clients/raw-mqtt.js'
import { metric, type RunningHub } from '../harness.js'

/** What a good client and the event loop had to bear while something hostile went on. */
export interface Delays {
  /** Milliseconds from a publish of QoS 1 to its acknowledgement and its delivery, the longest of all. */
  readonly roundTrip: number
  /** Milliseconds that the event loop was held up at a time, the longest of the last minute. */
  readonly eventLoop: number
}

/** The event loop was never held up for as much as `most` milliseconds within the last minute. */
export async function wasResponsive(t: Test, hub: RunningHub, most = bearable): Promise<number> {
  const held = (await metric(hub, 'telehub_event_loop_delay_seconds')) * 1_000
  t.ok(held > 0 && held < most, `the event loop was held up for ${held.toFixed()} ms at most`)
  return held
}

/** Milliseconds: an order of magnitude above what a healthy hub on a busy machine takes. */
const bearable = 2_000

/**
 * A good client that publishes to itself without a break, until `end`, which resolves with the delays and fails the test
 * when they are unbearable. Every hostile test has one: that the hub survives is not enough.
 */
export async function witness(
  t: Test,
  hub: RunningHub,
  options: ConnectOptions & { readonly topic?: string } = {},
): Promise<{ end(most?: number): Promise<Delays> }> {
  const { topic = 'witness', ...connect } = options
  const client = new RawClient(t, hub.mqttUrl)
  await client.connect({ clientId: 'witness', ...connect })
  await client.subscribe({ [topic]: 0 })
  let roundTrip = 0
  let isOver = false
  const roundTrips = async () => {
    for (let messageId = 1; !isOver; messageId = (messageId % 65_535) + 1) {
      const began = performance.now()
      client.send({ cmd: 'publish', topic, payload: 'x', qos: 1, messageId, dup: false, retain: false })
      await client.answer('puback')
      await client.answer('publish')
      roundTrip = Math.max(roundTrip, performance.now() - began)
      await sleep(5)
    }
  }
  const done = roundTrips()
  // It is awaited at the end; until then a rejection must not end the test run.
  done.catch(() => {})
  return {
    end: async (most = bearable) => {
      isOver = true
      await done
      const eventLoop = await wasResponsive(t, hub, most)
      t.comment(`worst round trip ${roundTrip.toFixed()} ms, event loop held up for ${eventLoop.toFixed()} ms`)
      t.ok(roundTrip < most, `a good client waited for ${roundTrip.toFixed()} ms at most`)
      return { roundTrip, eventLoop }
    },
  }
}
