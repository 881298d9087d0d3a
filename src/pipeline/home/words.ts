/*
 * Names of values for people. A field that is in the table has a language-neutral key, which pages translate; any other
 * is made readable. Nothing here says what a value means: no unit and no state comes from a name.
 */

/** A quantity, and where it stands among what people want to see first: the smallest counts; 0 is never shown large. */
interface Word {
  readonly key: string
  readonly name: string
  readonly rank: number
  /** Quantity in the words of Home Assistant, for numbers. */
  readonly class?: string
}

/** Rank of a number that is in no table, and of other values. */
export const plainRank = { number: 60, boolean: 70, text: 80 } as const

const rows: readonly (readonly [key: string, name: string, rank: number, cls: string, fields: string])[] = [
  [
    'temperature',
    'Temperature',
    1,
    'temperature',
    'temp temperatur tc local_temperature temperature_c current_temperature',
  ],
  [
    'target_temperature',
    'Target temperature',
    9,
    'temperature',
    'occupied_heating_setpoint current_heating_setpoint target_t setpoint',
  ],
  ['humidity', 'Humidity', 2, 'humidity', 'hum rh relative_humidity relativehumidity feuchte'],
  ['power', 'Power', 3, 'power', 'apower act_power active_power total_act_power instantaneous_demand'],
  ['energy', 'Energy', 4, 'energy', 'energy_total total_energy aenergy.total energy.total act_energy total_act'],
  ['energy_today', 'Energy today', 14, 'energy', 'energy.today today_energy daily_energy yieldday'],
  ['energy_yesterday', 'Energy yesterday', 0, 'energy', 'energy.yesterday'],
  ['contact', 'Contact', 5, '', ''],
  ['door', 'Door', 5, '', ''],
  ['window', 'Window', 5, '', ''],
  ['opening', 'Opening', 5, '', ''],
  ['occupancy', 'Occupancy', 6, '', 'presence'],
  ['motion', 'Motion', 6, '', 'pir'],
  ['water_leak', 'Water leak', 5, '', 'leak moisture_detected flood'],
  ['smoke', 'Smoke', 5, '', ''],
  ['gas', 'Gas', 15, '', ''],
  ['carbon_monoxide', 'Carbon monoxide', 5, '', 'co'],
  ['vibration', 'Vibration', 16, '', ''],
  ['lock', 'Lock', 5, '', 'lock_state'],
  ['state', 'State', 7, '', 'output relay ison'],
  ['on', 'On', 7, '', ''],
  ['position', 'Position', 8, '', 'current_pos pos'],
  ['brightness', 'Brightness', 8, '', 'dimmer bri'],
  ['level', 'Level', 8, '', ''],
  ['soc', 'State of charge', 4, 'battery', 'state_of_charge batterysoc'],
  ['co2', 'CO₂', 3, 'carbon_dioxide', 'carbondioxide carbon_dioxide eco2'],
  ['pm1', 'PM1', 12, 'pm1', 'pm1_0 pm1.0'],
  ['pm25', 'PM2.5', 4, 'pm25', 'pm2_5 pm2.5 pm02'],
  ['pm10', 'PM10', 11, 'pm10', 'pm10_0'],
  ['voc', 'VOC', 10, '', 'tvoc voc_index'],
  ['air_quality', 'Air quality', 10, '', 'aqi iaq air_quality_index'],
  ['illuminance', 'Illuminance', 17, 'illuminance', 'lux illuminance_lux lightlevel'],
  ['pressure', 'Pressure', 13, 'pressure', 'air_pressure barometer'],
  ['dew_point', 'Dew point', 30, 'temperature', 'dewpoint'],
  ['soil_moisture', 'Soil moisture', 5, 'moisture', 'soil_humidity'],
  ['wind_speed', 'Wind speed', 10, 'wind_speed', 'windspeed'],
  ['rain', 'Rain', 10, '', 'rainfall'],
  ['flow', 'Flow', 12, '', 'flow_rate'],
  ['speed', 'Speed', 12, '', 'rpm'],
  ['count', 'Count', 20, '', 'counter'],
  ['volume', 'Volume', 12, '', ''],
  ['weight', 'Weight', 12, 'weight', ''],
  ['distance', 'Distance', 12, 'distance', ''],
  ['voltage', 'Voltage', 31, 'voltage', ''],
  ['current', 'Current', 32, 'current', ''],
  ['frequency', 'Frequency', 40, 'frequency', 'freq'],
  ['power_factor', 'Power factor', 41, 'power_factor', 'factor pf'],
  ['apparent_power', 'Apparent power', 42, 'apparent_power', 'apparentpower aprt_power'],
  ['reactive_power', 'Reactive power', 43, 'reactive_power', 'reactivepower'],
  ['mode', 'Mode', 18, '', 'system_mode'],
  ['running_state', 'Running', 19, '', ''],
  ['action', 'Action', 20, '', 'event click'],
  ['uv', 'UV index', 20, '', 'uv_index uvi'],
  ['noise', 'Noise', 20, '', 'sound_level'],
  ['battery', 'Battery', 0, 'battery', 'battery_level battery_percent battery_percentage batterylevel'],
  ['battery_low', 'Battery low', 0, '', 'low_battery lowbattery'],
  ['linkquality', 'Link quality', 0, '', 'lqi link_quality'],
  ['rssi', 'Signal strength', 0, '', 'signal_strength signal wifi_rssi wifi_signal snr'],
  ['uptime', 'Uptime', 0, '', 'uptimesec uptime_s'],
  ['last_seen', 'Last seen', 0, '', 'lastseen last_heard'],
  ['firmware', 'Firmware', 0, '', 'version sw_version fw fw_ver firmware_version sw_build_id software_build_id'],
  ['availability', 'Availability', 0, '', 'status online available reachable lwt $state'],
]

/** Fields that tell of the device and not of measurements, beside those of rank 0 above. */
const diagnostic = new Set(
  (
    'device_temperature power_outage_count tamper voltage_battery battery_voltage heap freeheap free_heap heap_free ' +
    'loadavg load_avg sleep sleepmode mqttcount mqtt_count vcc ip ip_address ipaddress mac mac_address ssid ssid_1 bssid ' +
    'ssid1 channel ap downtime linkcount reset_reason boot_count bootcount build hardware hw model manufacturer vendor id ' +
    'unit_id serial serial_number free_memory has_update fw_update cfg_rev kvs_rev ram_free ram_size fs_free fs_size ' +
    'restart_required uptime_ms cpu_temperature wifi_ssid connected cloud_connected sta_ip f_cnt f_port counter_up ' +
    'berrytime berry_heap pending requested_power_cycles transmit_power tx_power network_address last_seen_at'
  ).split(' '),
)
/** First or middle parts of nested names whose values are all of that kind. */
const diagnosticParts =
  /^(?:update(?:_available)?|update|wifi|wi-fi|sys|cloud|mqtt|ble|eth|ws|ui|firmware|rx_metadata|rxinfo|txinfo|network|device_info|berry|status(?:prm|fwr|mem|net|log)|esp\d*|rf)$/i
/** Settings of a device among the readings. */
const settings =
  /(?:_calibration|_delay|_timeout|_interval|_sensitivity|_threshold|_offset|on_behavior|_memory|^child_lock|^keypad_lockout|^led_|_led|^indicator_mode|^power_on|^motion_sensitivity|^temperature_unit|^auto_lock|^window_detection|_schedule|^schedule)/i

const table = new Map<string, Word>()
for (const [key, name, rank, cls, fields] of rows) {
  const word: Word = { key, name, rank, ...(cls !== '' && { class: cls }) }
  for (const field of [key, name.toLowerCase().replaceAll(' ', '_'), ...fields.split(' ').filter(Boolean)]) {
    if (!table.has(field)) table.set(field, word)
  }
}

/** All keys with their English names, for pages that translate them. */
export const knownNames: ReadonlyMap<string, string> = new Map(rows.map(([key, name]) => [key, name]))

const snake = (text: string) =>
  text
    .replace(/([a-z\d])([A-Z])/g, '$1_$2')
    .replace(/[\s-]+/g, '_')
    .toLowerCase()

/** Returns the word of a name that is in the table. */
export function wordOf(name: string): Word | undefined {
  return table.get(name.toLowerCase()) ?? table.get(snake(name))
}

export type NameRole = 'value' | 'diagnostic' | 'config'

/** How a value is called that nobody has named, from the parts of its topic and field. */
export interface MadeName {
  readonly key: string | undefined
  readonly name: string
  /** Text before the name where several values of a device have the same name. */
  readonly part: string
  readonly role: NameRole
  /** Place among what is wanted first; 0: never shown large. */
  readonly rank: number | undefined
  readonly class: string | undefined
}

const known = new Map<string, MadeName>()
const maxKnown = 20_000

/** Names a value by its path: levels of the topic below the device, and parts of the field. */
export function nameOf(path: readonly string[]): MadeName {
  const key = path.join('\0')
  const found = known.get(key)
  if (found) return found
  const made = makeName(path)
  if (known.size >= maxKnown) known.clear()
  known.set(key, made)
  return made
}

function makeName(path: readonly string[]): MadeName {
  const parts = path.filter(
    (part, i) => part !== '' && !(i > 0 && i === path.length - 1 && /^(?:state|value)$/i.test(part)),
  )
  let last = parts.at(-1) ?? 'value'
  let before = parts.slice(0, -1)
  const pair = before.length > 0 ? table.get(`${before.at(-1)}.${last}`.toLowerCase()) : undefined
  // Tasmota's relays, in capitals: nothing that is measured.
  const relay = /^POWER(\d*)$/.exec(last)
  let word = relay ? table.get('state') : (pair ?? wordOf(last))
  if (relay) before = relay[1] === '' ? [] : [relay[1] as string]
  // `relay/0`: the number is that of the part.
  if (!word && /^\d+$/.test(last) && before.length > 0) {
    word = wordOf(before.at(-1) as string)
    before = parts
    if (!word) last = parts.slice(-2).join(' ')
  } else {
    const numbered = /^(.*?)[_-]?(l?\d+|left|right|top|bottom|center)$/i.exec(last)
    const inner = !word && numbered ? wordOf(numbered[1] as string) : undefined
    if (inner) {
      word = inner
      before = [...before, numbered?.[2] as string]
    }
  }
  const isDiagnostic =
    word?.rank === 0 ||
    diagnostic.has(snake(last)) ||
    diagnostic.has(last.toLowerCase()) ||
    parts.some((part, i) => diagnosticParts.test(part) && (i < parts.length - 1 || parts.length === 1)) ||
    // The temperature inside a switch is that of its electronics.
    (word?.key === 'temperature' &&
      before.some(part => /^(?:switch|cover|light|relay|roller|pm1|em1?):?\d*$/i.test(part)))
  return {
    key: word?.key,
    name: word?.name ?? human(last),
    part: human(before.join(' ')),
    role: isDiagnostic ? 'diagnostic' : settings.test(last) ? 'config' : 'value',
    rank: word?.rank,
    class: word?.class,
  }
}

/**
 * Makes a name readable: `outdoor_temp` → Outdoor temp, `currentHumidity` → Current humidity, `living-room` → Living room.
 * Hyphens stay where digits or capitals are, as in `shelly1pm-C45BBE` and `line-3`.
 */
export function human(text: string): string {
  const words = /^[a-z]+(?:-[a-z]+)+$/.test(text) ? text.replaceAll('-', ' ') : text
  const spaced = words
    .replace(/([a-z\d])([A-Z][a-z])/g, (_, a: string, b: string) => `${a} ${b.toLowerCase()}`)
    .replace(/[_\s]+/g, ' ')
    .trim()
  return spaced.charAt(0).toUpperCase() + spaced.slice(1)
}
