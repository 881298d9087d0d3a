import type { HomeDevice } from '../../contract/contract.js'

/** The class of a device, which chooses its icon and says nothing of its values. */
export type DeviceClass = HomeDevice['class']

/** By what devices say that they are, in the words of Home Assistant and Zigbee2MQTT. */
const kinds: Readonly<Record<string, DeviceClass>> = {
  light: 'light',
  switch: 'switch',
  outlet: 'plug',
  climate: 'thermostat',
  water_heater: 'thermostat',
  cover: 'cover',
  lock: 'lock',
  fan: 'fan',
  valve: 'valve',
  vacuum: 'vacuum',
  lawn_mower: 'vacuum',
  camera: 'camera',
  siren: 'smoke',
}

/** By the classes of values, the most telling first. */
const quantities: readonly (readonly [keys: readonly string[], DeviceClass])[] = [
  [['door', 'window', 'garage_door', 'opening', 'contact'], 'door'],
  [['motion', 'occupancy', 'presence'], 'motion'],
  [['moisture', 'water_leak'], 'leak'],
  [['smoke', 'gas', 'carbon_monoxide'], 'smoke'],
  [['lock'], 'lock'],
  [['carbon_dioxide', 'co2', 'pm25', 'pm10', 'voc', 'air_quality', 'aqi'], 'air'],
  [['wind_speed', 'rain'], 'weather'],
  [['soc'], 'battery'],
]

/** By words in names and models. An icon may be wrong; nothing else comes of it. */
const names: readonly (readonly [RegExp, DeviceClass])[] = [
  [/freezer|gefrier|tiefk[üu]hl|冰柜|冷柜|冷冻/i, 'freezer'],
  [/fridge|refrigerator|k[üu]hlschrank|冰箱/i, 'fridge'],
  [/washing|washer|waschmasch|dryer|trockner|dishwash|sp[üu]lmasch|洗衣|洗碗/i, 'washer'],
  [/\b(?:inverter|solar|pv|photovolta|wechselrichter)|光伏|太阳能/i, 'solar'],
  [/\b(?:bridge|gateway|coordinator|router|hub)\b|网关/i, 'gateway'],
  [/\b(?:lamp|light|bulb|licht|lampe|leuchte)|灯/i, 'light'],
  [/\b(?:car|vehicle|wallbox|loadpoint|charger)\b|汽车|充电/i, 'vehicle'],
  [/\b(?:water|wasser)\b|水表/i, 'water'],
  [/\b(?:valve|ventil)|阀/i, 'valve'],
  [/machine|press\b|pump|motor|conveyor|robot|\bcnc|spindle|maschine|pumpe|机床|电机|泵/i, 'machine'],
]

/** Signs from which the class of a device follows. */
export interface ClassSigns {
  readonly kinds: readonly string[]
  /** Classes and keys of its main values. */
  readonly quantities: ReadonlySet<string>
  readonly texts: readonly string[]
  readonly isSwitched: boolean
  readonly isBelowPlant: boolean
}

export function classOf({ kinds: said, quantities: found, texts, isSwitched, isBelowPlant }: ClassSigns): DeviceClass {
  const kind = said.map(one => kinds[one]).find(one => one !== undefined)
  if (kind !== undefined && kind !== 'switch') return kind
  const named = names.find(([pattern]) => texts.some(text => pattern.test(text)))?.[1]
  if (named === 'freezer' || named === 'fridge' || named === 'washer' || named === 'solar') return named
  for (const [keys, one] of quantities) if (keys.some(key => found.has(key))) return one
  if (named !== undefined && !(named === 'light' && found.has('temperature'))) return named
  const hasPower = found.has('power') || found.has('energy')
  if (isSwitched || kind === 'switch') return hasPower ? 'plug' : 'switch'
  if (isBelowPlant) return 'machine'
  if (found.has('temperature') || found.has('humidity')) return 'thermometer'
  return hasPower ? 'energy' : 'other'
}
