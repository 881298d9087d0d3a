import { plain } from '../observe/log.js'
import { count, many, table, time } from '../runtime/terminal.js'
import { type Call, type Command, command, type Flags, usage } from './command.js'
import { hubFlags, hubOf } from './hub-address.js'
import type { HubClient } from './hub-client.js'
import { onlyUser } from './only-user.js'
import { printJson } from './print.js'

/* `telehub device list` and `remove`: the devices that a running hub knows. */

const removeFlags = {
  user: { value: 'USER', help: 'user of the client, when clients of several users have that id' },
  described: { value: 'SOURCE', help: 'remove a device that discovery describes, by its id: the preset, as listed' },
  yes: { help: 'confirms' },
  ...hubFlags,
} as const satisfies Flags

export const deviceCommands: readonly Command[] = [
  command({
    name: 'device list',
    summary: 'list the MQTT clients, and the devices that discovery describes',
    flags: hubFlags,
    examples: ['telehub device list --json'],
    run: list,
  }),
  command({
    name: 'device remove',
    takes: ['ID'],
    summary: 'remove a device that is gone: from the lists, with its newest readings and retained messages',
    about: 'Stored readings stay (telehub series drop deletes them). A client must not be connected.',
    flags: removeFlags,
    examples: [
      'telehub device remove thermo-1 --yes',
      'telehub device remove 0x00158d0001 --described zigbee2mqtt --yes',
    ],
    run: remove,
  }),
]

async function list(call: Call<typeof hubFlags>): Promise<number> {
  const { out } = call.terminal
  const answer = await hubOf(call).ask('GET /api/devices', {})
  if (call.flags.json) return printJson(out, answer)
  const clients = answer.devices.map(({ clientId, user, online, since, lastSeen, messages }) => [
    plain(clientId),
    plain(user),
    `${online ? 'online' : 'offline'}${since > 0 ? ` since ${time(since)}` : ''}`,
    lastSeen > 0 ? time(lastSeen) : '',
    count(messages),
  ])
  if (clients.length > 0) out(table(['client id', 'user', 'state', 'last publish', 'messages'], clients))
  out(`${many(clients.length, 'client')}\n`)
  const described = answer.described.map(({ source, id, name = '', area = '', model = '', entities }) => [
    ...[source, id, name, area, model].map(text => plain(text)),
    count(entities.length),
  ])
  if (described.length > 0) out(`\n${table(['described by', 'id', 'name', 'area', 'model', 'values'], described)}`)
  if (described.length > 0) out(`${many(described.length, 'described device')}\n`)
  return 0
}

async function remove(call: Call<typeof removeFlags>): Promise<number> {
  const { described: source, yes, user, json } = call.flags
  const { out } = call.terminal
  const id = call.args[0] as string
  if (!yes)
    throw usage('telehub device remove clears readings and retained messages: confirm with --yes', 'device remove')
  const hub = hubOf(call)
  const asked = source === undefined ? { client: id, user: user ?? (await userOf(hub, id)) } : { source, id }
  const answer = await hub.ask('DELETE /api/devices', asked)
  if (json) return printJson(out, answer)
  const what = `${many(answer.readings, 'newest reading')} and ${many(answer.retained, 'retained message')}`
  out(`${plain(id)} is removed, with ${what}\n`)
  return 0
}

/** Finds the user of the client, if only one user has a client of that id. */
async function userOf(hub: HubClient, client: string): Promise<string> {
  const { devices } = await hub.ask('GET /api/devices', {})
  const found = devices.filter(({ clientId, user }) => clientId === client || clientId === `${user}/${client}`)
  return onlyUser(found, `clients of id ${plain(client)}`) ?? ''
}
