import { createHash, randomBytes } from 'node:crypto'
import { Access, type AccessRule, type Reads } from '../access/rules.js'
import { readOrSetAside } from '../disk/damaged.js'
import { replaceFile } from '../disk/replace-file.js'
import { HubError } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { Part } from '../runtime/lifecycle.js'
import { SerialQueue } from '../runtime/serial-queue.js'
import type { MillisecondClock } from '../runtime/time.js'
import { shadowsPrefix } from '../topics.js'
import type { User } from '../users/users.js'

/** The scope of a link: the topics of the devices on a board, and the series of the charts on the board. */
export interface ShareScope {
  readonly topics: readonly string[]
  /** Keys as in /api/history. */
  readonly series: readonly string[]
}

/** A link that shares one board until a time. The token is known to nobody but those who have the link. */
export interface ShareLink {
  readonly id: string
  readonly board: string
  /** User who made the link; empty without a login. */
  readonly by: string
  /** Milliseconds since the epoch. */
  readonly created: number
  readonly expires: number
}

interface SavedLink extends ShareLink {
  /** SHA-256 of the token, which has 256 random bits. */
  readonly hash: string
}

/** Is told when links, or what they share, have changed. */
export interface ShareFollower {
  sharesChanged(): void
}

export interface ShareLinksOptions {
  readonly path: string
  readonly clock: MillisecondClock
  readonly incidents: IncidentReporter
}

/** Most links, and the longest time of one. */
export const maxLinks = 100
export const maxLinkMs = 366 * 86_400_000

/** Most topics of one link: each is a rule, which is looked at for each topic that is delivered. */
export const maxScope = 2_000

/** Begins the name of the user that a visitor is. No user of a users file has a colon in the name. */
const prefix = 'share:'

const checkEveryMs = 1_000

/**
 * Links that share one board read-only. A visitor is a user of kind dashboard who is in no users file, and whose only
 * rules allow to read the topics of the board; so all that is decided by rules is decided for visitors, too. The user
 * is gone with the link, at the latest within a second after the end.
 */
export class ShareLinks implements Part {
  readonly name = 'share links'
  readonly #options: ShareLinksOptions
  readonly #links = new Map<string, SavedLink>()
  readonly #scopes = new Map<
    string,
    { readonly scope: ShareScope; readonly rules: readonly AccessRule[]; reads?: Reads }
  >()
  readonly #queue = new SerialQueue()
  #follower: ShareFollower | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: ShareLinksOptions) {
    this.#options = options
  }

  reportTo(follower: ShareFollower): void {
    this.#follower = follower
  }

  /** Reads the links. A file that cannot be used counts as none: all links have ended. */
  start(): void {
    const { path, incidents } = this.#options
    const links = readOrSetAside(
      path,
      text => ((JSON.parse(text) as { links?: unknown[] }).links ?? []).filter(isLink).slice(0, maxLinks),
      'links that share boards have ended',
      sentence => incidents.report('shares_damaged', sentence),
    )
    for (const link of links ?? []) this.#links.set(link.id, link)
    this.#timer = setInterval(() => this.#endOver(), checkEveryMs).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#queue.idle()
  }

  /** The links that have not ended, the newest first. */
  get list(): readonly ShareLink[] {
    const all = [...this.#links.values()].filter(link => this.#isAlive(link))
    return all.map(({ hash: _, ...link }) => link).sort((a, b) => b.created - a.created)
  }

  /** Makes a link. Resolves with the token when the link is on disk. */
  make({
    board,
    by,
    expires,
  }: Pick<ShareLink, 'board' | 'by' | 'expires'>): Promise<ShareLink & { readonly token: string }> {
    return this.#queue.run(async () => {
      const created = this.#options.clock.now()
      if (!(expires > created) || expires - created > maxLinkMs) {
        throw new HubError('bad_request', 'expires: allowed is a time from now on, at most 366 days away')
      }
      if (this.list.length >= maxLinks) {
        throw new HubError('busy', `there are ${maxLinks} links already; end one first`)
      }
      const token = randomBytes(32).toString('base64url')
      const link = { id: randomBytes(8).toString('hex'), board, by, created, expires }
      await this.#save([...this.#links.values(), { ...link, hash: hashOf(token) }])
      return { ...link, token }
    })
  }

  /** Ends a link. Resolves with the link when that is on disk; with undefined when there is none. */
  end(id: string): Promise<ShareLink | undefined> {
    return this.#queue.run(async () => {
      const link = this.#links.get(id)
      if (!link) return undefined
      // In force before the disk answers: a link that ends must not wait for that.
      this.#links.delete(id)
      this.#follower?.sharesChanged()
      await this.#save([...this.#links.values()])
      return link
    })
  }

  /** Returns the link of a token, which may be any text. */
  find(token: string): ShareLink | undefined {
    if (!/^[\w-]{43}$/.test(token)) return undefined
    // By the hash: how long that takes says nothing of tokens.
    const hash = hashOf(token)
    return [...this.#links.values()].find(link => link.hash === hash && this.#isAlive(link))
  }

  /** Sets what the links to a board share. */
  setScope(board: string, scope: ShareScope): void {
    const known = this.#scopes.get(board)
    if (known && JSON.stringify(known.scope) === JSON.stringify(scope)) return
    this.#scopes.set(board, { scope, rules: rulesFor(scope.topics) })
    this.#follower?.sharesChanged()
  }

  /** Returns the name of the user that visitors of a link are. */
  userOf({ id }: Pick<ShareLink, 'id'>): string {
    return prefix + id
  }

  /** Returns the link of a visitor, and what is shared. Undefined for other users, and once the link has ended. */
  visited(user: string): { readonly board: string; readonly scope: ShareScope; readonly expires: number } | undefined {
    const link = this.#linkOf(user)
    if (!link) return undefined
    const { board, expires } = link
    return { board, expires, scope: this.#scopes.get(board)?.scope ?? { topics: [], series: [] } }
  }

  /** Whether a name is that of a visitor, of whatever link. */
  isVisitor(user: string): boolean {
    return user.startsWith(prefix)
  }

  user(name: string): User | undefined {
    const link = this.#linkOf(name)
    return link && visitor(name, this.#scopes.get(link.board)?.rules ?? [])
  }

  access(name: string, clientId: string, shownAs: string): Access {
    const link = this.#linkOf(name)
    const known = link && this.#scopes.get(link.board)
    const access = new Access(name, clientId, known?.rules ?? [], known?.reads, shownAs)
    // A screen that does not keep up gets the newest of each topic.
    access.conflates = true
    if (known) known.reads = access.reads
    return access
  }

  #linkOf(user: string): SavedLink | undefined {
    const link = user.startsWith(prefix) ? this.#links.get(user.slice(prefix.length)) : undefined
    return link && this.#isAlive(link) ? link : undefined
  }

  #isAlive({ expires }: ShareLink): boolean {
    return this.#options.clock.now() < expires
  }

  #endOver(): void {
    const over = [...this.#links.values()].filter(link => !this.#isAlive(link))
    if (over.length === 0) return
    for (const { id } of over) this.#links.delete(id)
    this.#follower?.sharesChanged()
    // The time is checked whenever a link is used: a write that fails changes nothing.
    void this.#queue.run(() => this.#save([...this.#links.values()])).catch(() => {})
  }

  async #save(links: readonly SavedLink[]): Promise<void> {
    await replaceFile(this.#options.path, `${JSON.stringify({ links }, null, 2)}\n`)
    this.#links.clear()
    for (const link of links) this.#links.set(link.id, link)
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}

/**
 * Returns the rules of a visitor: to read these topics, and to publish nothing, not even to a shadow of its own name.
 * Topics that would not be taken literally, and those of the hub, are left out.
 */
function rulesFor(topics: readonly string[]): readonly AccessRule[] {
  const rule = (effect: AccessRule['effect'], verb: AccessRule['verb'], filter: string): AccessRule => ({
    ...{ effect, verb, filter, place: '' },
  })
  const plain = topics.filter(topic => topic !== '' && !/[+#{}]/.test(topic) && !topic.startsWith('$'))
  return [
    rule('deny', 'publish', '#'),
    rule('deny', 'publish', '$hub/#'),
    rule('deny', 'all', `${shadowsPrefix}#`),
    ...plain.slice(0, maxScope).map(topic => rule('allow', 'read', topic)),
  ]
}

function visitor(name: string, rules: readonly AccessRule[]): User {
  return {
    ...{
      name,
      kind: 'dashboard',
      password: '',
      scram: '',
      keys: [],
      pairing: undefined,
      clients: [],
      certificates: [],
    },
    ...{ wildcards: undefined, conflate: true, share: undefined, rules },
  }
}

/** Checks an entry of the file, which may contain anything. */
function isLink(given: unknown): given is SavedLink {
  const { id, hash, board, by, created, expires } = given as SavedLink
  return (
    [id, hash, board, by].every(text => typeof text === 'string' && text.length <= 1_000) &&
    [created, expires].every(Number.isFinite) &&
    expires - created <= maxLinkMs
  )
}
