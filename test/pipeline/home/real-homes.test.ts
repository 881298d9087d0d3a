import t from 'tap'
import { human } from '../../../src/pipeline/home/words.js'
import { inWords, MadeHome } from './made-home.js'

const exposes = (...features: readonly object[]) => features
const numeric = (property: string, unit: string, more = {}) => ({
  ...{ type: 'numeric', name: property, property, label: property.charAt(0).toUpperCase() + property.slice(1), unit },
  ...{ access: 1, ...more },
})

t.test('Zigbee2MQTT: devices by their descriptions, before and after these come', async t => {
  const home = new MadeHome()
  await home.send('zigbee2mqtt/bridge/state', '{"state":"online"}', { retain: true })
  await home.send('zigbee2mqtt/Küche/Klima', {
    ...{ battery: 91, humidity: 44.1, linkquality: 120, temperature: 21.4, voltage: 2995 },
  })
  await home.send('zigbee2mqtt/Küche/Klima/availability', '{"state":"online"}', { retain: true })
  t.same(
    inWords(await home.ask()),
    ['Bridge (gateway online): State', 'Klima (thermometer online): Temperature, Humidity'].sort(),
  )
  const [before] = (await home.ask()).devices.filter(({ name }) => name === 'Klima')
  await home.send('zigbee2mqtt/bridge/devices', [
    { ieee_address: '0x0', type: 'Coordinator', friendly_name: 'Coordinator' },
    {
      ...{
        ieee_address: '0x00158d0001',
        type: 'EndDevice',
        friendly_name: 'Küche/Klima',
        software_build_id: '3000-0001',
      },
      definition: {
        ...{ model: 'WSDCGQ11LM', vendor: 'Aqara', description: 'Temperature and humidity sensor' },
        exposes: exposes(
          numeric('battery', '%', { category: 'diagnostic' }),
          numeric('temperature', '°C'),
          numeric('humidity', '%'),
          numeric('voltage', 'mV', { category: 'diagnostic' }),
          numeric('linkquality', 'lqi', { category: 'diagnostic' }),
        ),
      },
    },
    {
      ...{ ieee_address: '0x00158d0002', type: 'Router', friendly_name: 'Lampe' },
      definition: {
        ...{ model: 'LED1545G12', vendor: 'IKEA', description: 'TRADFRI bulb' },
        exposes: exposes({
          type: 'light',
          features: [
            {
              ...{ type: 'binary', name: 'state', property: 'state', label: 'State', access: 7 },
              ...{ value_on: 'ON', value_off: 'OFF', value_toggle: 'TOGGLE' },
            },
            numeric('brightness', '', { access: 7, value_min: 0, value_max: 254 }),
          ],
        }),
      },
    },
    {
      ...{ ieee_address: '0x00158d0003', type: 'EndDevice', friendly_name: 'Haustür' },
      definition: {
        ...{ model: 'YRD226', vendor: 'Yale', description: 'Assure lock' },
        exposes: exposes({
          type: 'lock',
          features: [
            {
              ...{ type: 'binary', name: 'state', property: 'state', label: 'State', access: 7 },
              ...{ value_on: 'LOCK', value_off: 'UNLOCK' },
            },
          ],
        }),
      },
    },
    {
      ...{ ieee_address: '0x00158d0004', type: 'EndDevice', friendly_name: 'Fenster' },
      definition: {
        ...{ model: 'MCCGQ11LM', vendor: 'Aqara', description: 'Door and window sensor' },
        exposes: exposes({
          ...{ type: 'binary', name: 'contact', property: 'contact', label: 'Contact', access: 1 },
          ...{ value_on: false, value_off: true },
        }),
      },
    },
  ])
  await home.send('zigbee2mqtt/Lampe', { state: 'ON', brightness: 254, color_mode: 'color_temp', linkquality: 60 })
  await home.send('zigbee2mqtt/Fenster', {
    contact: true,
    battery: 100,
    update: { state: 'idle', installed_version: 3 },
  })
  const after = await home.ask()
  t.same(inWords(after), [
    'Bridge (gateway online): State',
    'Fenster (door online): Contact',
    'Haustür (lock): State | State:choice!',
    'Küche/Klima (thermometer online): Temperature °C, Humidity %',
    'Lampe (light online): State, Brightness | State:switch, Brightness:slider',
  ])
  const klima = after.devices.find(({ name }) => name === 'Küche/Klima')
  t.match(klima, { id: 'zigbee2mqtt:0x00158d0001', model: 'WSDCGQ11LM', battery: { field: 'battery' } })
  t.equal(before?.id, 'zigbee2mqtt/Küche/Klima')
  t.equal((await home.ask({ device: before?.id ?? '' })).devices[0]?.id, klima?.id, 'the earlier id finds it')
  const lamp = after.devices.find(({ name }) => name === 'Lampe')
  t.match(lamp?.controls[0], {
    topic: 'zigbee2mqtt/Lampe/set',
    options: [{ payload: '{"state":"ON"}', value: true }, { payload: '{"state":"OFF"}' }],
    state: { topic: 'zigbee2mqtt/Lampe', field: 'state' },
  })
  t.match(lamp?.controls[1], { payload: '{"brightness":{value}}', range: { min: 0, max: 254 } })
  const window = after.devices.find(({ name }) => name === 'Fenster')
  t.match(window?.values[0], {
    key: 'contact',
    texts: [
      { value: true, key: 'closed' },
      { value: false, key: 'open' },
    ],
  })
})

t.test('Tasmota and Shelly: relays and meters, with and without discovery', async t => {
  const home = new MadeHome()
  await home.send('tele/washer/LWT', 'Online', { retain: true })
  await home.send('tele/washer/STATE', {
    ...{
      Time: '2026-11-29T10:00:00',
      Uptime: '0T00:10:12',
      UptimeSec: 612,
      Heap: 27,
      SleepMode: 'Dynamic',
      POWER: 'ON',
    },
    Wifi: { AP: 1, SSId: 'x', RSSI: 70, Signal: -65 },
  })
  await home.send('tele/washer/SENSOR', {
    Time: '2026-11-29T10:00:00',
    ENERGY: {
      TotalStartTime: '2026-01-01T00:00:00',
      Total: 12.3,
      Yesterday: 1.1,
      Today: 0.4,
      Power: 1984,
      Voltage: 231,
      Current: 8.6,
    },
  })
  await home.send('stat/washer/POWER', 'ON')
  t.same(inWords(await home.ask()), [
    'Washer (washer online): Power W, Energy kWh, State, Energy today kWh | State:switch',
  ])
  await home.send('tasmota/discovery/AABBCC/config', {
    ...{
      dn: 'Waschmaschine',
      fn: ['Waschmaschine'],
      t: 'washer',
      ft: '%prefix%/%topic%/',
      md: 'Sonoff Pow',
      sw: '13.1.0',
      rl: [1, 0],
    },
  })
  t.same(inWords(await home.ask()), [
    'Waschmaschine (washer online): Power W, Energy kWh, State, Energy today kWh | State:switch',
  ])
  const states = async () =>
    (await home.ask()).devices.flatMap(({ controls }) => controls.flatMap(({ state }) => state?.topic ?? []))
  t.same(await states(), ['stat/washer/POWER'])
  const quiet = new MadeHome()
  await quiet.send('tele/plug/STATE', { POWER: 'ON' })
  await quiet.send('tasmota/discovery/AABBCD/config', { dn: 'Plug', t: 'plug', ft: '%prefix%/%topic%/', rl: [1] })
  const [plug] = (await quiet.ask()).devices
  t.match(plug?.controls, [{ state: { topic: 'tele/plug/STATE', field: 'POWER' } }], 'stat comes with a change only')
  await home.send('shellies/shelly1pm-1/announce', { id: 'shelly1pm-1', model: 'SHSW-PM', fw_ver: '1.11' })
  await home.send('shellies/shelly1pm-1/online', 'true', { retain: true })
  await home.send('shellies/shelly1pm-1/relay/0', 'off')
  await home.send('shellies/shelly1pm-1/relay/0/power', '12.5')
  await home.send('shellies/shelly1pm-1/relay/0/energy', '4711')
  await home.send('shellies/shelly1pm-1/temperature', '41.2')
  await home.send('plug-2/online', 'true', { retain: true })
  await home.send('plug-2/status/switch:0', {
    ...{
      id: 0,
      source: 'init',
      output: true,
      apower: 7.1,
      voltage: 230.1,
      current: 0.03,
      temperature: { tC: 40.1, tF: 104.2 },
    },
    aenergy: { total: 123.4, by_minute: [1, 2, 3], minute_ts: 1 },
  })
  await home.send('plug-2/events/rpc', {
    ...{ src: 'shellyplus-1', dst: 'plug-2/events', method: 'NotifyStatus' },
    params: { ts: 1_795_000_000.1, 'switch:0': { id: 0, apower: 8 } },
  })
  t.same(inWords(await home.ask()), [
    'Plug-2 (plug online): Power W, Energy Wh, State | State:switch',
    'Shelly1pm-1 (plug online): Power W, Energy W·min, State | State:switch',
    'Waschmaschine (washer online): Power W, Energy kWh, State, Energy today kWh | State:switch',
  ])
})

t.test('ESPHome by Home Assistant discovery: names, areas, availability, controls', async t => {
  const home = new MadeHome()
  const dev = { ids: 'aabb', name: 'Desk', sa: 'Office', mdl: 'esp32', mf: 'Espressif', sw: '2026.1' }
  const avty = { avty_t: 'desk/status' }
  await home.send('homeassistant/sensor/desk/co2/config', {
    ...{
      name: 'CO2',
      stat_t: 'desk/sensor/co2/state',
      unit_of_meas: 'ppm',
      dev_cla: 'carbon_dioxide',
      sug_dsp_prc: 0,
      uniq_id: '1',
    },
    ...avty,
    dev,
  })
  await home.send('homeassistant/switch/desk/fan/config', {
    ...{ name: 'Fan', stat_t: 'desk/switch/fan/state', cmd_t: 'desk/switch/fan/command', uniq_id: '2', ...avty, dev },
  })
  await home.send('homeassistant/button/desk/restart/config', {
    ...{
      name: 'Restart',
      cmd_t: 'desk/button/restart/command',
      dev_cla: 'restart',
      ent_cat: 'config',
      uniq_id: '3',
      ...avty,
      dev,
    },
  })
  await home.send('homeassistant/binary_sensor/desk/door/config', {
    ...{ name: 'Door', stat_t: 'desk/binary_sensor/door/state', dev_cla: 'door', uniq_id: '4', ...avty, dev },
  })
  t.same(
    inWords(await home.ask()),
    ['Office/Desk (door): CO₂ ppm, Door, Fan | Fan:switch, Restart:button!'],
    'a device that has only been described',
  )
  await home.send('desk/status', 'online', { retain: true })
  await home.send('desk/sensor/co2/state', '612')
  await home.send('desk/switch/fan/state', 'OFF')
  await home.send('desk/binary_sensor/door/state', 'ON')
  await home.send('desk/debug', '\u001b[0;36m[D][sensor:094]: sending\u001b[0m')
  const answer = await home.ask()
  t.same(inWords(answer), ['Office/Desk (door online): CO₂ ppm, Door, Fan | Fan:switch, Restart:button!'])
  const values = Object.fromEntries((answer.devices[0]?.values ?? []).map(value => [value.name, value]))
  t.match(values['CO₂'], { class: 'carbon_dioxide', decimals: 0, key: 'co2', fate: 'kept' })
  t.match(values.Door, {
    texts: [
      { value: true, key: 'open' },
      { value: false, key: 'closed' },
    ],
  })
  await home.send('desk/status', 'offline', { retain: true })
  t.match((await home.ask()).devices, [{ online: false, areas: undefined }])
  t.same((await home.ask()).areas, [{ name: 'Office', devices: 1 }])
})

t.test('topics of no family: rooms, objects, and many topics below one prefix', async t => {
  const home = new MadeHome()
  await home.send('home/kitchen/freezer/telemetry', { temperature: -18.2, door: false, rssi: -61 })
  await home.send('home/living_room/lamp', { power: 4, on: true })
  for (const value of ['temperature', 'vibration', 'speed', 'status', 'oil_pressure'])
    await home.send(`plant/line1/press_2/${value}`, value === 'status' ? 'running' : '12.5')
  await home.send('plant/line1/press_2/spectrum', { x: 1, y: 2, z: 3 })
  await home.send('sensors/pm', { pm25: 12, pm10: 20 })
  await home.send('sensors/attic', { temp: 12, hum: 20 })
  await home.send('outside', '7.5')
  const answer = await home.ask()
  t.same(inWords(answer), [
    'Kitchen/Freezer (freezer online): Temperature, Door',
    'Line1/Press 2 (machine online): Temperature, Speed, Vibration',
    'Living room/Lamp (light online): Power, On',
    'Attic (thermometer online): Temperature, Humidity',
    'Outside (other online): Outside',
    'Pm (air online): PM2.5, PM10',
  ])
  t.same(
    answer.areas.map(({ name }) => name),
    ['Kitchen', 'Line1', 'Living room'],
  )
  for (const { values } of answer.devices)
    for (const { unit, texts } of values)
      t.same([unit, texts], [undefined, undefined], 'nothing is guessed from a name')
})

t.test('names in topics are written as people write', t => {
  t.same(['living-room', 'outdoor_temp', 'currentHumidity', 'line-3', 'shelly1pm-C45BBE'].map(human), [
    ...['Living room', 'Outdoor temp', 'Current humidity', 'Line-3', 'Shelly1pm-C45BBE'],
  ])
  t.end()
})
