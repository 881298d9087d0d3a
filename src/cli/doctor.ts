import type { Settings } from '../config/settings.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { hubAt, hubFlags } from './hub-address.js'

const doctorFlags = {
  repair: { help: 'do what is safe to do about the problems' },
  management: { value: 'URL', help: "address of RabbitMQ's management API, for more checks of its queues" },
  ...hubFlags,
} as const satisfies Flags

export const doctorCommand: Command = command({
  name: 'doctor',
  summary: 'look for what is wrong, and say what to do about it, whether a hub runs or not',
  about:
    'Checks settings, disk, clock, ports, files, users, certificates, RabbitMQ, Kafka, the store and the hub.\n' +
    'Ends with 0 when nothing is wrong, 1 otherwise, 2 when it was called wrongly.',
  flags: doctorFlags,
  examples: ['telehub doctor', 'telehub doctor --repair'],
  settings: 'own',
  run: runDoctor,
})

async function runDoctor(call: Call<typeof doctorFlags>): Promise<number> {
  const { json, repair, management = '' } = call.flags
  if (management !== '' && !/^https?:\/\/[^/]+/.test(management)) {
    throw usage(
      `--management: given ${JSON.stringify(management)}, allowed is an address such as http://127.0.0.1:15672`,
    )
  }
  // Loaded only when needed, as the drivers are loaded with this module.
  const { doctor } = await import('../doctor/doctor.js')
  return doctor({
    call: { load: call.load, hubAt: (settings: Settings) => hubAt(settings, call) },
    management: management.replace(/\/+$/, ''),
    repair: repair === true,
    json: json === true,
    output: call.terminal,
    clock: call.terminal,
  })
}
