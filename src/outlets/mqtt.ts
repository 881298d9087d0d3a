import { flag, integer, type SettingFields } from '../config/settings.js'
import type { QoS } from '../model.js'
import { readAddress } from '../remote/address.js'
import type { OutletKind } from './kind.js'

/** Another MQTT broker: each message is published there, and done once that broker has acknowledged it. */
export const mqttKind: OutletKind = {
  read: (fields: SettingFields) => {
    const { address, shown } = readAddress(fields)
    const plan = {
      address,
      qos: fields.value('qos', integer(0, 2), 1) as QoS,
      retain: fields.value('retain', flag, true),
      strip: fields.text('strip', 'the beginning of topics', /^[^+#\0]+$/, false),
      prefix: fields.text('prefix', 'the beginning of topics', /^[^+#\0$][^+#\0]*$/, false),
    }
    return {
      shown,
      batch: fields.value('batch', integer(1, 10_000), 1_000),
      restMs: 0,
      open: async ({ name, hubId }) => {
        const { MqttOutlet } = await import('./mqtt-outlet.js')
        return new MqttOutlet(plan, name, hubId)
      },
    }
  },
}
