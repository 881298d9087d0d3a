import type { Preset, PresetTopic } from './preset.js'

/** Returns topics of bare values with a unit each. */
function values(base: string, units: Readonly<Record<string, string>>): PresetTopic[] {
  const byUnit = new Map<string, string[]>()
  for (const [name, unit] of Object.entries(units)) byUnit.set(unit, [...(byUnit.get(unit) ?? []), name])
  return [...byUnit].map(([unit, names]) => ({ topic: `${base}/(${names.join('|')})`, units: { value: unit } }))
}

/** OpenDTU: https://www.opendtu.solar/firmware/mqtt_topics/ */
export const openDtu: Preset = {
  name: 'opendtu',
  title: 'OpenDTU',
  note: 'With the default base topic `solar`.',
  topics: [
    { topic: 'solar/{serial}/cmd/{command...}', is: 'command', about: 'commands' },
    ...values('solar/{serial}/(0|1|2|3|4|5|6)', {
      ...{ power: 'W', powerdc: 'W', voltage: 'V', current: 'A', yieldday: 'Wh', yieldtotal: 'kWh', frequency: 'Hz' },
      ...{ temperature: '°C', efficiency: '%', irradiation: '%', reactivepower: 'var', maxpower: 'W' },
    }),
    ...values('solar/ac', { power: 'W', yieldday: 'Wh', yieldtotal: 'kWh' }),
    ...values('solar/dc', { power: 'W', irradiation: '%' }),
    { topic: 'solar/dtu/rssi', units: { value: 'dBm' } },
    { topic: 'solar/{rest...}', about: 'the value of each topic' },
  ],
}

/** evcc: https://docs.evcc.io/en/docs/integrations/mqtt-api */
export const evcc: Preset = {
  name: 'evcc',
  title: 'evcc',
  topics: [
    { topic: 'evcc*/{path...}/set', is: 'command', about: 'commands' },
    { topic: 'evcc*/{path...}/*(Power|power)', units: { value: 'W' } },
    { topic: 'evcc*/{path...}/*(Soc|soc)', units: { value: '%' } },
    { topic: 'evcc*/{path...}/(mode|title|name|vehicleName|vehicleTitle)', isText: true },
    { topic: 'evcc*/{path...}', about: 'the value of each topic' },
  ],
}

const services =
  '(acload|acsystem|alternator|battery|charger|dcdc|dcload|dcsource|dcsystem|digitalinput|ev|evcharger|fuelcell|generator|genset|gps|grid|heatpump|heartbeat|hub4|inverter|keepalive|logger|meteo|modbusclient|motordrive|multi|platform|pulsemeter|pvinverter|settings|solarcharger|switch|system|tank|temperature|unit|vebus|vecan)'

/** Victron Venus OS: https://github.com/victronenergy/dbus-flashmq */
export const victron: Preset = {
  name: 'victron',
  title: 'Victron Venus OS',
  topics: [
    { topic: `(R|W)/{portal}/${services}/{path...}`, is: 'command', about: 'requests and commands' },
    { topic: 'N/{portal}/settings/{path...}', is: 'ignored', about: 'settings' },
    { topic: 'N/{portal}/{service}/{instance}/{path...}/(Soc|Soh)', units: { value: '%' } },
    { topic: 'N/{portal}/{service}/{instance}/(Soc|Soh)', units: { value: '%' } },
    {
      topic:
        'N/{portal}/(battery|system|vebus|solarcharger|multi)/{instance}/{path...}/(Dc|Ac|Pv|Yield)/{more...}/(Power|P)',
      units: { value: 'W' },
    },
    { topic: 'N/{portal}/(battery|solarcharger|vebus)/{instance}/Dc/(0|1)/Voltage', units: { value: 'V' } },
    { topic: 'N/{portal}/(battery|solarcharger|vebus)/{instance}/Dc/(0|1)/Current', units: { value: 'A' } },
    { topic: 'N/{portal}/(battery|solarcharger|vebus)/{instance}/Dc/(0|1)/Power', units: { value: 'W' } },
    { topic: 'N/{portal}/(battery|solarcharger|vebus)/{instance}/Dc/(0|1)/Temperature', units: { value: '°C' } },
    {
      topic: 'N/{portal}/{service}/{path...}',
      about: 'the value of each topic; `{"value": null}` while there is none',
    },
  ],
}

/** SolarAssistant: https://solar-assistant.io/help/integration/mqtt */
export const solarAssistant: Preset = {
  name: 'solar-assistant',
  title: 'SolarAssistant',
  note: 'Units come from Home Assistant discovery, which SolarAssistant sends.',
  topics: [
    { topic: 'solar_assistant/set/{rest...}', is: 'log' },
    { topic: 'solar_assistant/{device}/{name}/set', is: 'command', about: 'commands and their answers' },
    { topic: 'solar_assistant/{device}/{name}/state', about: 'the value of each topic' },
  ],
}

/** DSMR-reader: https://dsmr-reader.readthedocs.io/en/latest/reference/mqtt.html */
export const dsmrReader: Preset = {
  name: 'dsmr',
  title: 'DSMR-reader',
  topics: [
    {
      topic: 'dsmr/(reading*|consumption/*)/(timestamp|extra_device_timestamp|read_at)',
      is: 'ignored',
      about: 'times',
    },
    {
      topic: 'dsmr/(reading*)/(electricity_currently_delivered|electricity_currently_returned)',
      units: { value: 'kW' },
    },
    { topic: 'dsmr/(reading*)/(electricity_delivered_*|electricity_returned_*)', units: { value: 'kWh' } },
    { topic: 'dsmr/(reading*)/phase_currently_*', units: { value: 'kW' } },
    { topic: 'dsmr/(reading*)/phase_voltage_*', units: { value: 'V' } },
    { topic: 'dsmr/(reading*)/phase_power_current_*', units: { value: 'A' } },
    { topic: 'dsmr/(reading*|consumption/gas)/(extra_device_delivered|delivered)', units: { value: 'm³' } },
    { topic: 'dsmr/{path...}', about: 'the value of each topic' },
  ],
}

/** EMS-ESP: https://emsesp.org/MQTT/ */
export const emsEsp: Preset = {
  name: 'ems-esp',
  title: 'EMS-ESP',
  note: 'Units come from Home Assistant discovery, if it is switched on.',
  topics: [
    { topic: 'ems-esp*/response', is: 'log', about: 'answers to commands' },
    { topic: 'ems-esp*/info', is: 'ignored', about: 'what the gateway says when it starts' },
    {
      topic:
        'ems-esp*/(boiler|thermostat|mixer|solar|heatpump|switch|controller|gateway|ventilation|water|pool|system|temperaturesensor|analogsensor|custom)/{command...}',
      is: 'command',
      about: 'commands',
    },
    { topic: 'ems-esp*/*_data*', about: 'a field for each value' },
  ],
}

/** TeslaMate: https://docs.teslamate.org/docs/integrations/mqtt */
export const teslaMate: Preset = {
  name: 'teslamate',
  title: 'TeslaMate',
  topics: [
    { topic: 'teslamate/{namespace...}/cars/{car}/(since|scheduled_charging_start_time)', is: 'ignored' },
    {
      topic: 'teslamate/{namespace...}/cars/{car}/(battery_level|usable_battery_level|charge_limit_soc)',
      units: { value: '%' },
    },
    { topic: 'teslamate/{namespace...}/cars/{car}/(*_km|odometer)', units: { value: 'km' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/(inside_temp|outside_temp)', units: { value: '°C' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/speed', units: { value: 'km/h' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/(power|charger_power)', units: { value: 'kW' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/charger_voltage', units: { value: 'V' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/charger_actual_current', units: { value: 'A' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/charge_energy_added', units: { value: 'kWh' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/tpms_pressure_*', units: { value: 'bar' } },
    { topic: 'teslamate/{namespace...}/cars/{car}/{name}', about: 'the value of each topic' },
  ],
}

/** AI-on-the-edge: https://jomjol.github.io/AI-on-the-edge-device-docs/MQTT-API/ */
export const aiOnTheEdge: Preset = {
  name: 'ai-on-the-edge',
  title: 'AI-on-the-edge',
  note: 'Units come from Home Assistant discovery, if it is switched on.',
  topics: [
    { topic: '{base...}/ctrl/(flow_start|set_prevalue|GPIO)', is: 'command', about: 'commands' },
    { topic: '{base...}/ctrl/GPIO/{pin...}', is: 'command' },
  ],
}
