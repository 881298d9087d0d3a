#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { Device } from './device.js'
import { type FaultName, type Faults, faultNames, stormEveryMs } from './faults.js'
import { type Behaviour, Member } from './member.js'
import { plant } from './plant.js'
import { type ProfileName, profileNames } from './profiles.js'
import { realHome } from './real-home.js'

const help = `Simulated devices for an MQTT broker

  npm run devices                                      a smart home of ten devices
  npm run devices -- --count 200 --profile meter --rate 50
  npm run devices -- --home real                       a home as real firmware speaks, with discovery and commands
  npm run devices -- --home plant                      40 machines with 30 values each

  --url URL          the broker [mqtt://127.0.0.1:1883]
  --home NAME        simple: the ten devices; real: Zigbee2MQTT, Tasmota, Shelly and ESPHome, a freezer that warms and a
                     sensor that falls silent; plant: five lines of eight machines [simple]
  --profile NAME     home, or one of ${profileNames.join(', ')} [home]
  --count N          how many devices; the home always has its ten [10]
  --rate N           messages per second of all devices together [what is natural for the profile]
  --seed N           the same seed measures the same values [1]
  --duration TIME    how long, such as 500ms, 60s, 5m [until Ctrl-C]
  --faults LIST      what goes wrong: ${faultNames.join(', ')}, joined by commas [nothing]
  --help

The simple devices publish to home/{room}/{device}/telemetry, and say online or offline on home/{room}/{device}/status. A light
obeys home/{room}/{device}/set: {"on": true, "brightness": 80}.
`

const home: readonly (readonly [room: string, name: string, profile: ProfileName])[] = [
  ['hall', 'front-door', 'door'],
  ['hall', 'motion', 'motion'],
  ['hall', 'meter', 'meter'],
  ['kitchen', 'thermostat', 'thermostat'],
  ['kitchen', 'light', 'light'],
  ['living-room', 'thermostat', 'thermostat'],
  ['living-room', 'air', 'air'],
  ['living-room', 'light', 'light'],
  ['bedroom', 'thermostat', 'thermostat'],
  ['bedroom', 'air', 'air'],
]

/** Behaviours by `--home`; null: the simple devices. */
const homes: Readonly<Record<string, ((seed: number) => readonly Behaviour[]) | null>> = {
  simple: null,
  real: realHome,
  plant,
}

/** Part of a fleet with a connection of its own. */
type FleetMember = Pick<Device, 'start' | 'report' | 'drop' | 'counts' | 'stop'>

interface Plan {
  readonly devices: readonly FleetMember[]
  readonly url: string
  /** Messages per second of the fleet; undefined: each device at its own pace. */
  readonly rate: number | undefined
  readonly durationMs: number | undefined
  readonly faults: Faults
}

/** Reads the command line; throws an Error with one sentence when an option is wrong. */
function planFrom(args: readonly string[], onTrouble: (reason: string) => void): Plan | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
      home: { type: 'string', default: 'simple' },
      profile: { type: 'string', default: 'home' },
      count: { type: 'string' },
      rate: { type: 'string' },
      seed: { type: 'string', default: '1' },
      duration: { type: 'string' },
      faults: { type: 'string', default: '' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) return 'help'
  const { url } = values
  if (!URL.canParse(url) || !/^(mqtts?|wss?):$/.test(new URL(url).protocol)) {
    throw new Error(`--url: given ${url}, allowed is a URL that begins with mqtt://, mqtts://, ws:// or wss://`)
  }
  const seed = wholeNumber('seed', values.seed, 0, 2 ** 31 - 1)
  const faults = new Set(values.faults.split(',').filter(Boolean).map(faultFrom))
  const rate = values.rate === undefined ? undefined : positiveNumber('rate', values.rate)
  const durationMs = values.duration === undefined ? undefined : duration(values.duration)
  const device = (room: string, name: string, profile: ProfileName, n: number) =>
    new Device({
      url,
      room,
      name,
      profile,
      seed: seed * 100_003 + n,
      faults,
      onTrouble,
      ...(rate !== undefined && { interval: 0 }),
    })
  const behaviours = homes[values.home]
  if (behaviours === undefined) {
    throw new Error(`--home: given ${values.home}, allowed is one of ${Object.keys(homes).join(', ')}`)
  }
  if (behaviours !== null) {
    if (values.count !== undefined || values.profile !== 'home' || faults.size > 0) {
      throw new Error(`--home ${values.home}: --count, --profile and --faults are for simple devices`)
    }
    const interval = rate === undefined ? undefined : 0
    const devices = behaviours(seed).map(behaviour => new Member({ url, behaviour, interval, onTrouble }))
    return { devices, url, rate, durationMs, faults }
  }
  const profile = profileNames.find(name => name === values.profile)
  if (!profile && values.profile !== 'home') {
    throw new Error(`--profile: given ${values.profile}, allowed is home or one of ${profileNames.join(', ')}`)
  }
  if (!profile && values.count !== undefined) {
    throw new Error('--count: the home always has its ten devices; name another --profile for more')
  }
  const count = wholeNumber('count', values.count ?? '10', 1, 1_000_000)
  const devices = profile
    ? Array.from({ length: count }, (_, i) =>
        device(`floor-${1 + Math.floor(i / 10)}`, `${profile}-${i + 1}`, profile, i),
      )
    : home.map(([room, name, ofProfile], i) => device(room, name, ofProfile, i))
  return { devices, url, rate, durationMs, faults }
}

function wholeNumber(option: string, given: string, min: number, max: number): number {
  const value = Number(given)
  if (/^\d+$/.test(given) && value >= min && value <= max) return value
  throw new Error(`--${option}: given ${given}, allowed is a whole number from ${min} to ${max}`)
}

function positiveNumber(option: string, given: string): number {
  const value = Number(given)
  if (/^\d+(\.\d+)?$/.test(given) && value > 0) return value
  throw new Error(`--${option}: given ${given}, allowed is a number above 0`)
}

function duration(given: string): number {
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(given)
  if (!found) throw new Error(`--duration: given ${given}, allowed is a time such as 500ms, 60s or 5m`)
  return Number(found[1]) * { ms: 1, s: 1e3, m: 6e4, h: 36e5 }[found[2] as 'ms' | 's' | 'm' | 'h']
}

function faultFrom(given: string): FaultName {
  const fault = faultNames.find(name => name === given)
  if (fault) return fault
  throw new Error(`--faults: given ${given}, allowed is a list of ${faultNames.join(', ')}`)
}

/** Runs until the duration is over, a signal comes, or the parent goes away. */
async function run({ devices, rate, durationMs, faults }: Plan, untold: () => string | undefined): Promise<number> {
  const timers: NodeJS.Timeout[] = []
  const startedAt = performance.now()
  // Not all at once: the storm is a separate fault.
  let started = 0
  timers.push(
    setInterval(() => {
      for (let i = 0; i < 10 && started < devices.length; i++) devices[started++]?.start()
    }, 20),
  )
  if (rate !== undefined) timers.push(pace(devices, rate))
  if (faults.has('storm')) timers.push(setInterval(() => devices.forEach(drop), stormEveryMs))
  const progress = new Progress(devices, untold)
  // A hub that runs these devices as a demo has a log already.
  if (!process.send) timers.push(setInterval(() => progress.show(), process.stderr.isTTY ? 500 : 10_000))

  await new Promise<void>(resolve => {
    const end = () => resolve()
    if (durationMs !== undefined) timers.push(setTimeout(end, durationMs))
    process.on('SIGINT', end).on('SIGTERM', end).on('disconnect', end)
    process.on('message', message => message === 'stop' && end())
  })
  for (const timer of timers) clearInterval(timer)
  // A second signal ends the process without waiting.
  process.on('SIGINT', () => process.exit(130))
  await Promise.all(devices.map(device => device.stop(process.send ? 2_000 : 5_000)))

  const { published, acknowledged, dropped } = totals(devices)
  const seconds = (performance.now() - startedAt) / 1_000
  const lost = published - acknowledged
  progress.clear()
  process.stdout.write(
    `${devices.length} devices, ${published} published, ${acknowledged} acknowledged, ` +
      `${lost} not acknowledged${dropped > 0 ? ` (of these ${dropped} dropped: the buffer was full)` : ''}, ` +
      `${seconds.toFixed(1)} s, ${Math.round(acknowledged / seconds)} a second\n`,
  )
  return lost > 0 ? 1 : 0
}

/** Makes the devices report in turn, as many as are due by the clock, so that the rate holds over time. */
function pace(devices: readonly FleetMember[], rate: number): NodeJS.Timeout {
  const startedAt = performance.now()
  let reported = 0
  return setInterval(() => {
    const due = Math.floor(((performance.now() - startedAt) / 1_000) * rate)
    // After a long stall (a suspended laptop) missed reports stay missed.
    if (due - reported > rate * 5) reported = due - Math.ceil(rate)
    while (reported < due) devices[reported++ % devices.length]?.report()
  }, 5)
}

function drop(device: FleetMember): void {
  device.drop()
}

function totals(devices: readonly FleetMember[]) {
  const sum = { published: 0, acknowledged: 0, buffered: 0, dropped: 0, connected: 0 }
  for (const device of devices) {
    const counts = device.counts()
    sum.published += counts.published
    sum.acknowledged += counts.acknowledged
    sum.buffered += counts.buffered
    sum.dropped += counts.dropped
    sum.connected += counts.connected ? 1 : 0
  }
  return sum
}

class Progress {
  readonly #devices: readonly FleetMember[]
  readonly #untold: () => string | undefined
  #acknowledged = 0
  #at = performance.now()

  constructor(devices: readonly FleetMember[], untold: () => string | undefined) {
    this.#devices = devices
    this.#untold = untold
  }

  show(): void {
    const now = performance.now()
    const { published, acknowledged, buffered, dropped, connected } = totals(this.#devices)
    const rate = Math.round(((acknowledged - this.#acknowledged) * 1_000) / (now - this.#at))
    this.#acknowledged = acknowledged
    this.#at = now
    const parts = [
      `${connected}/${this.#devices.length} connected`,
      `${published} published`,
      `${acknowledged} acknowledged`,
      `${buffered} buffered`,
      ...(dropped > 0 ? [`${dropped} dropped`] : []),
      `${rate}/s`,
    ]
    const trouble = connected < this.#devices.length ? this.#untold() : undefined
    if (trouble) parts.push(trouble)
    this.clear()
    process.stderr.write(parts.join(' · ') + (process.stderr.isTTY ? '' : '\n'))
  }

  clear(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  }
}

async function main(): Promise<number> {
  let trouble: string | undefined
  let plan: Plan | 'help'
  try {
    plan = planFrom(process.argv.slice(2), reason => {
      trouble = reason
    })
  } catch (error) {
    process.stderr.write(`devices: ${(error as Error).message.split('\n')[0]}; --help says more\n`)
    return 2
  }
  if (plan === 'help') {
    process.stdout.write(help)
    return 0
  }
  const { url } = plan
  return run(plan, () => trouble && `${url}: ${trouble}, trying again`)
}

process.exit(await main())
