import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Coding, compress } from './compression.js'

/** Folder that `src/setup/bundle-dashboard.mjs` makes of the dashboard. */
const root = fileURLToPath(new URL('../../bundle/dashboard', import.meta.url))

/** Files of packages that pages load, as the packages ship them: names behind /vendor/. */
const libraries: Readonly<Record<string, readonly [packageName: string, file: string]>> = {
  // Of the package only these files are used: none of its code runs in the hub.
  'swagger-ui.js': ['@fastify/swagger-ui', 'static/swagger-ui-bundle.js'],
  'swagger-ui.css': ['@fastify/swagger-ui', 'static/swagger-ui.css'],
}

const types: Readonly<Record<string, string>> = {
  js: 'text/javascript; charset=utf-8',
  mjs: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  png: 'image/png',
  webmanifest: 'application/manifest+json',
  map: 'application/json; charset=utf-8',
}

/** Imports that a browser follows before a module runs. */
const staticImports = /\b(?:from|import)\s*["'](\.[^"']+)["']/g

/** Brotli's quality for files: a better one saves a tenth, and takes ten times as long. */
const quality = 5

/** A file that pages load. Compressed once, when first asked for, and then kept. */
export class Asset {
  readonly type: string
  readonly #path: string
  readonly #compressed = new Map<Coding, Promise<Buffer>>()
  #hash: string | undefined

  constructor(path: string) {
    this.#path = path
    this.type = types[path.slice(path.lastIndexOf('.') + 1)] ?? 'application/octet-stream'
  }

  /** Identifies the content. */
  get hash(): string {
    this.#hash ??= hashOf([readFileSync(this.#path)])
    return this.#hash
  }

  /** Resolves with the bytes in a coding; without, as the file is. */
  bytes(coding: Coding | undefined): Promise<Buffer> {
    if (!coding) return readFile(this.#path)
    let compressed = this.#compressed.get(coding)
    if (!compressed) {
      compressed = readFile(this.#path).then(bytes => compress(bytes, coding, quality))
      this.#compressed.set(coding, compressed)
      // A file that could not be read is tried again.
      compressed.catch(() => this.#compressed.delete(coding))
    }
    return compressed
  }
}

/**
 * The files of the pages, at addresses that name their content: `/assets/{hash of all own files}/main.js` and
 * `/vendor/swagger-ui-{hash}.js`. Own files share a hash, as they import each other by relative addresses. What such an
 * address answers never changes.
 */
export class Assets {
  /** Own files by name. */
  readonly own: ReadonlyMap<string, Asset>
  /** Libraries by name, without a hash. */
  readonly vendor: ReadonlyMap<string, Asset>
  readonly #pages = new Map<string, string>()
  #version: string | undefined

  constructor() {
    const names = existsSync(root) ? readdirSync(root).sort() : []
    const loaded = names.filter(name => /\.(js|css|svg|png|webmanifest|map)$/.test(name))
    this.own = new Map(loaded.map(name => [name, new Asset(join(root, name))]))
    const require = createRequire(import.meta.url)
    // By the main file, as some packages do not let others resolve their package.json.
    const folderOf = (main: string, name: string) =>
      main.slice(0, main.lastIndexOf(join('node_modules', name)) + join('node_modules', name).length)
    const fileOf = ([name, file]: (typeof libraries)[string]) => join(folderOf(require.resolve(name), name), file)
    this.vendor = new Map(Object.entries(libraries).map(([name, from]) => [name, new Asset(fileOf(from))]))
  }

  /** Hash of all own files. */
  get version(): string {
    this.#version ??= hashOf([...this.own.keys()].filter(name => !name.endsWith('.map')).map(readOwn))
    return this.#version
  }

  /** Returns the HTML of a page, in which files have the addresses that name their content. Empty: there is no such page. */
  page(name: string): string {
    let page = this.#pages.get(name)
    if (page === undefined) {
      page = readOwn(name).replace(
        /"\/((?:vendor\/)?[\w.-]+\.(?:js|css|svg))"/g,
        (_, file) => `"${this.#addressOf(file)}"`,
      )
      page = page.replace('</head>', () => `${this.#preloads(name)}</head>`)
      this.#pages.set(name, page)
    }
    return page
  }

  /** Compresses what a page loads first, so that the first visitor does not wait for that. */
  async warm(page: string): Promise<void> {
    this.page(page)
    for (const name of this.#reached(page, staticImports)) await this.own.get(name)?.bytes('br')
  }

  /** Returns the library of a name with a hash or without, and whether the hash is that of the content. */
  library(given: string): { readonly asset: Asset; readonly isExact: boolean } | undefined {
    const [, stem = '', hash, suffix = ''] = /^([a-z-]+?)(?:-([0-9a-f]{16}))?(\.\w+)$/.exec(given) ?? []
    const asset = this.vendor.get(stem + suffix)
    return asset && { asset, isExact: hash === asset.hash }
  }

  /** Returns the names of own files that a page loads, and of those that these import in turn. */
  filesOf(page: string): ReadonlySet<string> {
    return this.#reached(page, /\b(?:from|import)\s*\(?\s*["'`](\.[^"'`]+)["'`]/g)
  }

  /** Links by which a browser loads all modules of a page at once, not one import after the other. */
  #preloads(page: string): string {
    const names = [...this.#reached(page, staticImports)].filter(name => name.endsWith('.js'))
    if (!/<script type="module"/.test(readOwn(page))) return ''
    return names.map(name => `  <link rel="modulepreload" href="${this.#addressOf(name)}">\n`).join('')
  }

  #reached(page: string, imports: RegExp): ReadonlySet<string> {
    const found = new Set<string>()
    const follow = (from: string, addresses: Iterable<readonly string[]>) => {
      for (const [, address = ''] of addresses) {
        const name = posix.join('/', dirname(from), address).slice(1)
        if (found.has(name) || !this.own.has(name)) continue
        found.add(name)
        if (name.endsWith('.js')) follow(name, readOwn(name).matchAll(imports))
      }
    }
    follow(page, readOwn(page).matchAll(/\s(?:src|href)="([^":#]+)"/g))
    return found
  }

  #addressOf(file: string): string {
    const library = file.startsWith('vendor/') ? this.vendor.get(file.slice('vendor/'.length)) : undefined
    if (library) return `/${file.replace(/(\.\w+)$/, `-${library.hash}$1`)}`
    return this.own.has(file) ? `/assets/${this.version}/${file}` : `/${file}`
  }
}

function readOwn(name: string): string {
  const path = join(root, name)
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

function hashOf(contents: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256')
  for (const content of contents) hash.update(content).update('\0')
  return hash.digest('hex').slice(0, 16)
}
