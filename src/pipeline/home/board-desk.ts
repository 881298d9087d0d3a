import { mayRead, type ReadRules } from '../../access/rules.js'
import type { BoardEdits, Boards, JsonMap } from '../../boards/boards.js'
import { type Answer, encodeJson, type Json } from '../../contract/contract.js'
import { parseSeriesKey } from '../../model.js'
import type { Mapping } from '../mapping.js'

/** A caller who asks about boards. With `rules` the answer holds only what these allow to be read. */
export interface BoardsCaller {
  /** Empty without a login. */
  readonly user: string
  readonly rules: ReadRules | undefined
  readonly mayEdit: boolean
  /** Id of the only board that the caller may see. Undefined: all, as far as the rules allow. */
  readonly board?: string | undefined
}

export type BoardEdit = NonNullable<BoardEdits['boards']>[string]
type BoardsJson = Promise<Json<Answer<'GET /api/boards'>>>

/** Topics of the devices on a board, and the series of the charts there. */
export interface BoardScope {
  readonly topics: readonly string[]
  readonly series: readonly string[]
}

/** Questions and orders about boards, with one argument each that can be sent to another thread. */
export interface BoardsApi {
  boards(caller: BoardsCaller): BoardsJson
  patchBoards(asked: {
    readonly caller: BoardsCaller
    readonly match: string | undefined
    readonly patch: unknown
  }): BoardsJson
  undoBoards(asked: { readonly caller: BoardsCaller; readonly match: string | undefined }): BoardsJson
  /** Resolves with what a board shows; with undefined when there is no such board. */
  boardScope(asked: { readonly board: string }): Promise<BoardScope | undefined>
  setFavourites(asked: { readonly user: string; readonly devices: readonly string[] }): Promise<void>
}

/** The devices that a caller may know of. Implemented by `Home`. */
export interface VisibleDevices {
  /** Resolves with the ids, also those from before a device was described, and with the areas of these devices. */
  visible(rules: ReadRules): Promise<{ readonly ids: ReadonlySet<string>; readonly areas: ReadonlySet<string> }>
  /** Resolves with the topics of the devices that are on a board. */
  topicsOn(board: Pick<BoardEdit, 'areas' | 'devices'>): Promise<readonly string[]>
}

/** Answers questions about boards, and carries out the orders of people. */
export class BoardDesk {
  readonly #boards: Boards
  readonly #devices: VisibleDevices
  readonly #mapping: Pick<Mapping, 'topicOf'>

  constructor(boards: Boards, devices: VisibleDevices, mapping: Pick<Mapping, 'topicOf'>) {
    this.#boards = boards
    this.#devices = devices
    this.#mapping = mapping
  }

  async answer({ user, rules, mayEdit, board }: BoardsCaller): BoardsJson {
    const readable = rules ? await this.#readable(rules) : this.#boards.edits
    const shown = board === undefined ? readable : this.#only(board, readable)
    const { edits } = this.#boards
    const favourites = Object.hasOwn(edits.favourites ?? {}, user) ? (edits.favourites?.[user] ?? []) : []
    return encodeJson({
      ...this.#boards.historyFor(mayEdit),
      areas: shown.areas ?? [],
      devices: shown.devices ?? {},
      boards: shown.boards ?? {},
      favourites,
      // Changes name devices, which the rules may hide.
      ...(rules && { changes: [] }),
    })
  }

  async patch({ caller, match, patch }: Parameters<BoardsApi['patchBoards']>[0]): BoardsJson {
    await this.#boards.patch(patch as JsonMap, { by: caller.user, match })
    return this.answer(caller)
  }

  async undo({ caller, match }: Parameters<BoardsApi['undoBoards']>[0]): BoardsJson {
    await this.#boards.undo({ by: caller.user, match })
    return this.answer(caller)
  }

  setFavourites({ user, devices }: Parameters<BoardsApi['setFavourites']>[0]): Promise<void> {
    return this.#boards.setFavourites(user, devices)
  }

  async boardScope({ board: id }: { readonly board: string }): Promise<BoardScope | undefined> {
    const board = this.#board(id)
    return board && { topics: await this.#devices.topicsOn(board), series: board.series ?? [] }
  }

  #board(id: string): BoardEdit | undefined {
    const { boards = {} } = this.#boards.edits
    return Object.hasOwn(boards, id) ? boards[id] : undefined
  }

  /** Returns the edits with one board alone, which has all the areas and charts that were put there. */
  #only(id: string, { areas = [], devices = {}, boards = {} }: BoardEdits): BoardEdits {
    const whole = this.#board(id)
    const own = new Set([...Object.values(devices).map(({ area }) => area), ...(whole?.areas ?? [])])
    const shown = {
      ...boards[id],
      ...(whole?.series && { series: whole.series }),
      ...(whole?.areas && { areas: whole.areas }),
    }
    return { areas: areas.filter(area => own.has(area)), devices, boards: whole ? { [id]: shown } : {} }
  }

  /** Returns the edits of what the rules allow to be read. */
  async #readable(rules: ReadRules): Promise<BoardEdits> {
    const { ids: visible, areas } = await this.#devices.visible(rules)
    const { devices = {}, boards = {} } = this.#boards.edits
    const isReadable = (key: string) => {
      const id = parseSeriesKey(key)
      const topic = id && this.#mapping.topicOf(id)
      return topic !== undefined && mayRead(rules, topic)
    }
    const own = Object.entries(devices).filter(([id]) => visible.has(id))
    const shown = Object.entries(boards).flatMap(([id, board]) => {
      const part: BoardEdit = {
        ...board,
        ...(board.devices && { devices: board.devices.filter(one => visible.has(one)) }),
        ...(board.series && { series: board.series.filter(isReadable) }),
        ...(board.areas && { areas: board.areas.filter(area => areas.has(area)) }),
      }
      // The name of a board says something of what is on it.
      return sizeOf(board) > 0 && sizeOf(part) === 0 ? [] : [[id, part] as const]
    })
    return {
      areas: (this.#boards.edits.areas ?? []).filter(area => areas.has(area)),
      devices: Object.fromEntries(own.map(([id, device]) => [id, readableEdit(device, rules)])),
      boards: Object.fromEntries(shown),
    }
  }
}

function sizeOf({ areas = [], devices = [], series = [] }: BoardEdit): number {
  return areas.length + devices.length + series.length
}

type EditedDevice = NonNullable<BoardEdits['devices']>[string]

/** Returns the edits of a device without those of values whose topic the rules hide. Values are named `topic#field`. */
function readableEdit({ main, values, ...device }: EditedDevice, rules: ReadRules): EditedDevice {
  const isReadable = (name: string) => mayRead(rules, name.slice(0, name.lastIndexOf('#')))
  return {
    ...device,
    ...(main && { main: main.filter(isReadable) }),
    ...(values && { values: Object.fromEntries(Object.entries(values).filter(([name]) => isReadable(name))) }),
  }
}

/** Returns the answers of the processor thread to questions about boards. */
export function boardOffers(desk: () => BoardDesk) {
  return {
    boards: (caller: BoardsCaller) => desk().answer(caller),
    patchBoards: (asked: Parameters<BoardsApi['patchBoards']>[0]) => desk().patch(asked),
    undoBoards: (asked: Parameters<BoardsApi['undoBoards']>[0]) => desk().undo(asked),
    boardScope: (asked: Parameters<BoardsApi['boardScope']>[0]) => desk().boardScope(asked),
    setFavourites: (asked: Parameters<BoardsApi['setFavourites']>[0]) => desk().setFavourites(asked),
  }
}
