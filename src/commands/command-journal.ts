import type { Files } from '../disk/files.js'
import { SnapshotLog } from '../disk/snapshot-log.js'
import type { IncidentReporter } from '../observe/incidents.js'
import { type CommandChange, CommandEntry, type CommandRecord } from './command-entry.js'

/*
 * The journal of commands: frames of commit-log.ts that hold JSON,
 *
 *     {"i": id, "c": number, "p": payload, "m": {topic, user, times, …}, "s": "queued"}     a command, whole
 *     {"i": id, "s": state, …}                                                              a change of its state
 *     {"i": id, "s": ""}                                                                    forgotten
 *
 * A command is on disk before its caller hears of it, and `sent` before the command is sent: after a crash the hub knows
 * of each command whether the device may have it.
 */

export interface CommandJournalOptions {
  readonly dir: string
  /** The commands that are known. */
  readonly entries: () => Iterable<CommandEntry>
  readonly incidents: IncidentReporter
  readonly files?: Files | undefined
}

const rotateBytes = 8e6

export class CommandJournal {
  readonly #log: SnapshotLog

  constructor({ dir, entries, incidents, files }: CommandJournalOptions) {
    this.#log = new SnapshotLog({
      dir,
      // Two syncs are in the way of each command: one trip through the thread pool for each is what one waits for.
      fsync: 'write',
      rotateBytes,
      // A change that comes meanwhile is a frame behind the snapshot, which says all that has changed.
      inTurns: true,
      // A command that is not on disk yet is in the group that follows, or refused.
      snapshot: function* () {
        for (const entry of entries()) if (entry.isKept) yield bodyOf(entry.record())
      },
      // What the disk refused is written with the next group.
      refused: () => this.#log.rewriteNext(),
      damaged: (sentence, bytes) => incidents.report('commands_damaged', sentence, { bytes }),
      ...(files && { files }),
    })
  }

  /** Resolves with the commands on disk, by id. */
  async load(): Promise<Map<string, CommandEntry>> {
    const found = new Map<string, CommandEntry>()
    const isThere = await this.#log.load(body => {
      const record = JSON.parse(body.toString()) as CommandRecord | (CommandChange & { readonly i: string })
      const known = found.get(record.i)
      if ('m' in record) found.set(record.i, CommandEntry.from(record))
      else if ((record.s as string) === '') found.delete(record.i)
      else known?.restore(record)
    })
    if (!isThere) this.#log.begin()
    return found
  }

  /** Writes a new command. `done` is called when it is on disk, or refused. */
  created(entry: CommandEntry, done: (error: Error | undefined) => void): void {
    this.#log.append(bodyOf(entry.record()), error => {
      entry.isKept = error === undefined
      done(error)
    })
  }

  changed(entry: CommandEntry, done?: (error: Error | undefined) => void): void {
    this.#log.append(bodyOf({ i: entry.id, ...entry.change() }), done)
  }

  /** Writes the end of a command. `done` is called when it is on disk, or the entry has `endFault`. */
  ended(entry: CommandEntry, done: () => void): void {
    this.changed(entry, error => {
      entry.endFault = error
      done()
    })
  }

  /** Writes an end once more that the disk has refused. Rejects when it refuses again. */
  async endedAgain(entry: CommandEntry): Promise<void> {
    await new Promise<void>(resolve => this.ended(entry, resolve))
    if (entry.endFault) throw entry.endFault
  }

  forgotten(id: string): void {
    this.#log.append(bodyOf({ i: id, s: '' }))
  }

  /** Resolves when everything written so far is on disk, or refused. */
  flush(): Promise<void> {
    return this.#log.flush()
  }

  close(): Promise<void> {
    return this.#log.close()
  }
}

function bodyOf(record: object): Buffer {
  return Buffer.from(JSON.stringify(record))
}
