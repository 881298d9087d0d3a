import { json, membersOf } from './json.js'
import type { Behaviour, Publication } from './member.js'
import { door, meter, noise, round, thermostat, wave } from './profiles.js'
import { Zigbee2Mqtt } from './zigbee2mqtt.js'

/*
 * A home as real firmware speaks: Zigbee2MQTT with discovery, Tasmota, Shelly of both generations, and ESPHome. Commands
 * are answered as each family answers them. The freezer warms, and the sensor in the garden falls silent.
 */

/** Returns all programs and devices of the home. */
export function realHome(seed: number): readonly Behaviour[] {
  return [
    new Zigbee2Mqtt(seed),
    new TasmotaPlug(seed + 100),
    new TasmotaClimate(seed + 200),
    new ShellyPlus(seed + 300),
    new Shelly1(seed + 400),
    new Greenhouse(seed + 500),
  ]
}

/** Time as Tasmota writes it: local, without a zone. */
const localTime = (now: number) => {
  const shifted = new Date(now - new Date(now).getTimezoneOffset() * 60_000)
  return shifted.toISOString().slice(0, 19)
}

// — Tasmota: https://tasmota.github.io/docs/MQTT/ —

abstract class Tasmota implements Behaviour {
  readonly clientId: string
  readonly intervalMs = 10_000
  readonly commands: readonly string[]
  readonly will: Publication
  protected readonly seed: number
  protected readonly topic: string
  readonly #mac: string
  readonly #name: string
  readonly #model: string
  readonly #relays: number

  constructor(seed: number, mac: string, name: string, model: string, relays: number) {
    const id = mac.slice(-6)
    this.seed = seed
    this.#mac = mac
    this.#name = name
    this.#model = model
    this.#relays = relays
    this.clientId = `DVES_${id}`
    this.topic = `tasmota_${id}`
    this.commands = [`cmnd/${this.topic}/#`]
    this.will = { topic: `tele/${this.topic}/LWT`, payload: 'Offline', retain: true }
  }

  birth(now: number): readonly Publication[] {
    const config = {
      ...{ ip: '192.168.1.57', dn: this.#name, fn: [this.#name, null, null, null, null, null, null, null] },
      ...{ hn: `${this.topic}-6609`, mac: this.#mac, md: this.#model, ty: 0, if: 0, ofln: 'Offline', onln: 'Online' },
      ...{ state: ['OFF', 'ON', 'TOGGLE', 'HOLD'], sw: '14.2.0', t: this.topic, ft: '%prefix%/%topic%/' },
      ...{ tp: ['cmnd', 'stat', 'tele'], rl: [this.#relays, 0, 0, 0, 0, 0, 0, 0], ver: 1 },
    }
    return [
      { topic: `tele/${this.topic}/LWT`, payload: 'Online', retain: true },
      { topic: `tasmota/discovery/${this.#mac}/config`, payload: json(config), retain: true },
      ...this.report(now),
    ]
  }

  report(now: number): readonly Publication[] {
    const state = {
      ...{ Time: localTime(now), Uptime: '3T04:12:09', UptimeSec: 274_329, Heap: 25, SleepMode: 'Dynamic', Sleep: 50 },
      ...{ LoadAvg: 19, MqttCount: 1, ...this.switched() },
      Wifi: { AP: 1, SSId: 'home', Channel: 6, RSSI: 74, Signal: -63, LinkCount: 1, Downtime: '0T00:00:03' },
    }
    return [
      { topic: `tele/${this.topic}/STATE`, payload: json(state) },
      { topic: `tele/${this.topic}/SENSOR`, payload: json({ Time: localTime(now), ...this.sensors(now) }) },
    ]
  }

  obey(topic: string, payload: string, now: number): readonly Publication[] {
    const command = topic.split('/').at(-1) ?? ''
    const said = (words: object) => ({ topic: `stat/${this.topic}/RESULT`, payload: json(words) })
    if (command !== 'POWER' || this.#relays === 0) return [said({ Command: 'Unknown' })]
    this.power(payload)
    const { POWER } = this.switched() as { POWER: string }
    return [said({ POWER }), { topic: `stat/${this.topic}/POWER`, payload: POWER }, ...this.report(now)]
  }

  farewell(): readonly Publication[] {
    return [this.will]
  }

  /** State of the relay, as in STATE. */
  protected abstract switched(): object
  /** Switches the relay. */
  protected abstract power(payload: string): void
  protected abstract sensors(now: number): object
}

class TasmotaPlug extends Tasmota {
  #isOn = true

  constructor(seed: number) {
    super(seed, 'DC4F229CF9D1', 'Washing machine', 'NOUS A1T', 1)
  }

  protected switched(): object {
    return { POWER: this.#isOn ? 'ON' : 'OFF' }
  }

  protected power(payload: string): void {
    const asked = payload.toUpperCase()
    if (asked === 'TOGGLE' || asked === '2') this.#isOn = !this.#isOn
    else if (asked) this.#isOn = asked === 'ON' || asked === '1'
  }

  protected sensors(now: number): object {
    const { voltage, energy } = meter(this.seed, now) as { voltage: number; energy: number }
    // A washing cycle: heating, then turning, then a pause.
    const part = (now % 2_400_000) / 2_400_000
    const draws = part < 0.25 ? 1_984 : part < 0.8 ? 210 : 3
    const power = this.#isOn ? Math.round(draws * (1 + 0.05 * noise(this.seed, now, 5_000))) : 0
    return {
      ENERGY: {
        ...{ TotalStartTime: '2025-01-12T16:05:51', Total: round(energy / 40, 3), Yesterday: 1.214, Today: 0.402 },
        ...{ Period: 5, Power: power, ApparentPower: Math.round(power * 1.05), ReactivePower: Math.round(power * 0.3) },
        ...{ Factor: power > 0 ? 0.95 : 0, Voltage: Math.round(voltage), Current: round(power / voltage, 3) },
      },
    }
  }
}

class TasmotaClimate extends Tasmota {
  constructor(seed: number) {
    super(seed, '2CF432AA81E0', 'Attic', 'Sonoff TH', 0)
  }

  protected switched(): object {
    return {}
  }

  protected power(): void {}

  protected sensors(now: number): object {
    const { temperature, humidity } = thermostat(this.seed, now) as { temperature: number; humidity: number }
    const reading = { Temperature: round(temperature + 3, 1), Humidity: round(humidity, 1), DewPoint: 11.2 }
    return { SI7021: reading, TempUnit: 'C' }
  }
}

// — Shelly: https://shelly-api-docs.shelly.cloud —

class ShellyPlus implements Behaviour {
  readonly clientId = 'shellyplus1pm-a8032abe54dc'
  readonly intervalMs = 10_000
  readonly commands = [`${this.clientId}/rpc`, `${this.clientId}/command/switch:0`]
  readonly will = { topic: `${this.clientId}/online`, payload: 'false', retain: true }
  readonly #seed: number
  #isOn = false

  constructor(seed: number) {
    this.#seed = seed
  }

  birth(now: number): readonly Publication[] {
    return [{ topic: `${this.clientId}/online`, payload: 'true', retain: true }, ...this.report(now)]
  }

  report(now: number): readonly Publication[] {
    const status = this.#status(now)
    const notice = {
      ...{ src: this.clientId, dst: `${this.clientId}/events`, method: 'NotifyStatus' },
      params: { ts: round(now / 1_000, 2), 'switch:0': status },
    }
    return [
      { topic: `${this.clientId}/status/switch:0`, payload: json(status) },
      { topic: `${this.clientId}/events/rpc`, payload: json(notice) },
    ]
  }

  obey(topic: string, payload: string, now: number): readonly Publication[] {
    if (topic.endsWith('/command/switch:0')) {
      if (payload === 'toggle') this.#isOn = !this.#isOn
      else if (payload !== 'status_update') this.#isOn = payload.startsWith('on')
      return this.report(now)
    }
    const { id, src, method, params } = membersOf(payload) as {
      id: unknown
      src: unknown
      method: unknown
      params?: object
    }
    if (typeof src !== 'string') return []
    const answer = (words: object) => [
      { topic: `${src}/rpc`, payload: json({ id, src: this.clientId, dst: src, ...words }) },
    ]
    if (method !== 'Switch.Set') return answer({ error: { code: 404, message: `No handler for ${String(method)}` } })
    const wasOn = this.#isOn
    this.#isOn = (params as { on?: unknown } | undefined)?.on === true
    return [...answer({ result: { was_on: wasOn } }), ...this.report(now)]
  }

  farewell(): readonly Publication[] {
    return [this.will]
  }

  #status(now: number) {
    const { voltage, energy } = meter(this.#seed, now) as { voltage: number; energy: number }
    const apower = this.#isOn ? round(60 + 2 * noise(this.#seed, now, 5_000), 1) : 0
    return {
      ...{ id: 0, source: 'MQTT', output: this.#isOn, apower, voltage: round(voltage, 1) },
      ...{ current: round(apower / voltage, 3), aenergy: { total: round(energy * 10, 3), by_minute: [0, 0, 0] } },
      temperature: { tC: round(48 + noise(this.#seed, now, 60_000), 1), tF: 118.4 },
    }
  }
}

class Shelly1 implements Behaviour {
  readonly clientId = 'shelly1pm-C45BBE6A2E1F'
  readonly intervalMs = 15_000
  readonly #base = `shellies/${this.clientId}`
  readonly commands = [`${this.#base}/relay/0/command`, `${this.#base}/command`, 'shellies/command']
  readonly will = { topic: `${this.#base}/online`, payload: 'false', retain: true }
  readonly #seed: number
  #isOn = true

  constructor(seed: number) {
    this.#seed = seed
  }

  birth(now: number): readonly Publication[] {
    return [
      { topic: `${this.#base}/online`, payload: 'true', retain: true },
      { topic: 'shellies/announce', payload: this.#announcement },
      ...this.report(now),
    ]
  }

  report(now: number): readonly Publication[] {
    const { energy } = meter(this.#seed, now) as { energy: number }
    const power = this.#isOn ? round(38 + noise(this.#seed, now, 5_000), 2) : 0
    const values = {
      ...{ 'relay/0': this.#isOn ? 'on' : 'off', 'relay/0/power': power, 'relay/0/energy': Math.round(energy * 6) },
      ...{ temperature: 52.3, temperature_f: 126.14, overtemperature: 0, 'input/0': 0 },
    }
    return Object.entries(values).map(([name, value]) => ({ topic: `${this.#base}/${name}`, payload: String(value) }))
  }

  obey(topic: string, payload: string, now: number): readonly Publication[] {
    if (!topic.includes('/relay/')) {
      return payload === 'announce' ? [{ topic: 'shellies/announce', payload: this.#announcement }] : this.report(now)
    }
    this.#isOn = payload === 'toggle' ? !this.#isOn : payload === 'on'
    return this.report(now)
  }

  farewell(): readonly Publication[] {
    return [this.will]
  }

  get #announcement(): string {
    const firmware = '20230913-112234/v1.14.0-gcb84623'
    return json({ id: this.clientId, model: 'SHSW-PM', mac: 'C45BBE6A2E1F', ip: '192.168.1.61', fw_ver: firmware })
  }
}

// — ESPHome: https://esphome.io/components/mqtt/ —

const greenhouseSensors = [
  ['sensor', 'soil_moisture', 'Soil moisture', { unit_of_meas: '%', dev_cla: 'moisture' }],
  ['sensor', 'air_temperature', 'Air temperature', { unit_of_meas: '°C', dev_cla: 'temperature' }],
  ['sensor', 'air_humidity', 'Air humidity', { unit_of_meas: '%', dev_cla: 'humidity' }],
  ['binary_sensor', 'door', 'Door', { dev_cla: 'door' }],
  ['switch', 'pump', 'Pump', { cmd_t: 'greenhouse/switch/pump/command' }],
] as const

class Greenhouse implements Behaviour {
  readonly clientId = 'greenhouse-a4cf12b3c4d5'
  readonly intervalMs = 10_000
  readonly commands = ['greenhouse/switch/pump/command']
  readonly will = { topic: 'greenhouse/status', payload: 'offline', retain: true }
  readonly #seed: number
  #isPumping = false
  /** ESPHome sends `nan` until a sensor has its first reading. */
  #isWarm = false

  constructor(seed: number) {
    this.#seed = seed
  }

  birth(now: number): readonly Publication[] {
    const dev = {
      ...{ ids: 'a4cf12b3c4d5', name: 'Greenhouse', sw: 'esphome v2025.10.3', mdl: 'esp32dev', mf: 'Espressif' },
      sa: 'Garden',
    }
    return [
      { topic: 'greenhouse/status', payload: 'online', retain: true },
      ...greenhouseSensors.map(([component, object, name, more]) => ({
        topic: `homeassistant/${component}/greenhouse/${object}/config`,
        payload: json({
          ...{ name, stat_t: `greenhouse/${component}/${object}/state`, avty_t: 'greenhouse/status' },
          ...{ uniq_id: `ESP${component}${object}`, dev, ...more },
        }),
        retain: true,
      })),
      ...this.report(now),
    ]
  }

  report(now: number): readonly Publication[] {
    const wet = 40 + 8 * wave(this.#seed, now, 21_600_000)
    const number = (value: number, digits: number) => (this.#isWarm ? value.toFixed(digits) : 'nan')
    const states = {
      'sensor/soil_moisture': number(wet, 1),
      'sensor/air_temperature': number(17 + 6 * wave(this.#seed + 1, now, 86_400_000), 1),
      'sensor/air_humidity': number(68 + 8 * wave(this.#seed + 2, now, 86_400_000), 0),
      'binary_sensor/door': door(this.#seed, now).open ? 'ON' : 'OFF',
      'switch/pump': this.#isPumping ? 'ON' : 'OFF',
    }
    this.#isWarm = true
    return [
      ...Object.entries(states).map(([name, payload]) => ({
        ...{ topic: `greenhouse/${name}/state`, payload, retain: true },
      })),
      {
        topic: 'greenhouse/debug',
        payload: `\u001b[0;36m[D][sensor:094]: 'Soil moisture': ${wet.toFixed(1)} %\u001b[0m`,
      },
    ]
  }

  obey(_topic: string, payload: string, now: number): readonly Publication[] {
    this.#isPumping = payload === 'ON'
    return this.report(now)
  }

  farewell(): readonly Publication[] {
    return [this.will]
  }
}
