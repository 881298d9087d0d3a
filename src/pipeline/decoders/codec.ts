import variant from '@jitl/quickjs-wasmfile-release-sync'
import {
  newQuickJSWASMModuleFromVariant,
  type QuickJSContext,
  type QuickJSSyncVariant,
  type QuickJSWASMModule,
  Scope,
  type VmCallResult,
} from 'quickjs-emscripten-core'
import { Undecodable } from './sample.js'
import { type Tree, type TreeObject, toTree } from './tree.js'

/*
 * Codecs of The Things Network and ChirpStack: JavaScript of a device's maker with a function `decodeUplink`, run in
 * QuickJS, compiled to WebAssembly. A codec sees no file, no network, no clock of more than the language has, and nothing
 * of the hub.
 */

/** Memory of a codec, and its stack, in bytes. */
const memoryLimit = 16e6
const stackLimit = 256 * 1_024
/** Steps of a codec: QuickJS asks after every 10,000 jumps and calls. The same work always takes the same number. */
const maxAsked = 500
/** Time that a codec may take however slow the machine is, in milliseconds. */
const longestMs = 2_000
/** Most characters of what a codec returns. */
const maxResult = 1e6

/** The argument of a codec. */
export interface Uplink {
  readonly bytes: Uint8Array
  readonly fPort: number
  /** Milliseconds since the epoch. */
  readonly recvTime: number
  readonly variables?: TreeObject
}

/**
 * Returns the result as JSON. `Decode` and `Decoder` are what codecs had before there was `decodeUplink`.
 * [TTN payload formatters; ChirpStack 4 codec functions]
 */
const callSource = `json => {
  const input = JSON.parse(json)
  input.recvTime = new Date(input.recvTime)
  if (typeof decodeUplink === 'function') return JSON.stringify(decodeUplink(input))
  if (typeof Decode === 'function') return JSON.stringify({ data: Decode(input.fPort, input.bytes, input.variables) })
  if (typeof Decoder === 'function') return JSON.stringify({ data: Decoder(input.bytes, input.fPort) })
  throw new Error('there is no function decodeUplink')
}`

/** One codec. Every call begins anew, as with The Things Network: nothing of one device reaches another. */
export class Codec {
  readonly #name: string
  readonly #source: string
  /** Undefined while WebAssembly begins anew, after a failure of its own. */
  #module: QuickJSWASMModule | undefined

  private constructor(name: string, source: string) {
    this.#name = name
    this.#source = source
  }

  /** Resolves with the codec. Rejects with a sentence for people when the source is no codec. */
  static async load(name: string, source: string): Promise<Codec> {
    const codec = new Codec(name, source)
    await codec.#begin()
    const kinds = codec.#run('() => typeof decodeUplink + typeof Decode + typeof Decoder', '')
    if (!kinds.includes('function')) throw new Error('there is no function decodeUplink')
    return codec
  }

  /** Returns the data that the codec finds in an uplink. Throws {@link Undecodable}. */
  decode({ bytes, fPort, recvTime, variables = {} }: Uplink): Tree {
    const input = JSON.stringify({ bytes: [...bytes], fPort, recvTime, variables })
    let result: unknown
    try {
      result = JSON.parse(this.#run(callSource, input))
    } catch (error) {
      throw new Undecodable('codec_failed', `${this.#name}: ${(error as Error).message}`)
    }
    const { data, errors } = (result ?? {}) as { data?: unknown; errors?: unknown }
    if (Array.isArray(errors) && errors.length > 0) {
      throw new Undecodable('codec_error', `${this.#name}: ${errors.map(String).join('; ').slice(0, 500)}`)
    }
    if (data === undefined || data === null)
      throw new Undecodable('codec_error', `${this.#name}: neither data nor errors`)
    return toTree(data)
  }

  async #begin(): Promise<void> {
    this.#module = await newQuickJSWASMModuleFromVariant(variant as unknown as QuickJSSyncVariant)
  }

  /** Runs the codec's source, then a function with one text, which returns a text. */
  #run(functionSource: string, argument: string): string {
    const module = this.#module
    if (!module) throw new Error('the sandbox begins anew')
    try {
      return Scope.withScope(scope => {
        const runtime = scope.manage(module.newRuntime())
        runtime.setMemoryLimit(memoryLimit)
        runtime.setMaxStackSize(stackLimit)
        let asked = 0
        const deadline = performance.now() + longestMs
        runtime.setInterruptHandler(() => ++asked > maxAsked || performance.now() > deadline)
        const context = scope.manage(runtime.newContext())
        const take = (result: VmCallResult<ReturnType<QuickJSContext['newString']>>) => {
          if (result.error) throw thrown(context.dump(scope.manage(result.error)))
          return scope.manage(result.value)
        }
        take(context.evalCode(this.#source, this.#name))
        const call = take(context.evalCode(`(${functionSource})`, 'telehub'))
        const found = take(context.callFunction(call, context.undefined, scope.manage(context.newString(argument))))
        if (context.typeof(found) !== 'string') throw new Error('the codec returned nothing')
        if (context.getNumber(scope.manage(context.getProp(found, 'length'))) > maxResult) {
          throw new Error('the codec returned too much')
        }
        return context.getString(found)
      })
    } catch (error) {
      // A codec that fails ends with an error of QuickJS. Anything else is a failure of WebAssembly, after which nothing
      // in its memory can be relied on.
      if ((error as Error).name === 'RuntimeError') {
        this.#module = undefined
        this.#begin().catch(() => {})
      }
      throw error
    }
  }
}

function thrown(error: unknown): Error {
  const { name = 'error', message = String(error) } = (error ?? {}) as { name?: unknown; message?: unknown }
  if (message === 'interrupted') return new Error('took too long')
  return new Error(`${String(name)}: ${String(message)}`.slice(0, 500))
}
