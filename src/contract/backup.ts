import { closed, integer, object, optional, string, withDefault } from './schema.js'

/** What `telehub backup` asks of the hub whose files it copies. */
export const backups = {
  'POST /api/backup/hold': {
    summary: 'Keeps the file of the embedded store as it is while telehub backup copies it',
    description:
      'Messages are taken and stored meanwhile: they go to the log beside the file. The hold ends with the seconds, ' +
      'unless it is asked for again, or with /api/backup/release.',
    allow: 'change',
    body: closed({ seconds: withDefault(integer(undefined, { minimum: 1, maximum: 600 }), 60) }),
    answer: object({
      hub: string('Id of the hub, as in data.dir/hub.json'),
      store: optional(
        object(
          { logBytes: integer('Bytes of the log beside the file that belong to whole writes') },
          'Left out with InfluxDB, which a backup of the hub does not contain',
        ),
      ),
    }),
  },
  'POST /api/backup/release': {
    summary: 'Ends the hold',
    allow: 'change',
    body: closed({}),
    answer: object({ hub: string() }),
  },
} as const
