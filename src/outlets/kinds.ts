import { kafkaKind } from './kafka.js'
import type { OutletKind } from './kind.js'
import { mqttKind } from './mqtt.js'
import { webhookKind } from './webhook.js'

/** All kinds of outlets, by the word that `kind` in the settings has. A new kind is added here. */
export const outletKinds: Readonly<Record<string, OutletKind>> = {
  kafka: kafkaKind,
  mqtt: mqttKind,
  webhook: webhookKind,
}
