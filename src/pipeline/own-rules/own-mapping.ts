import type { SettingsFollower } from '../../config/reload.js'
import { placedRules, type Settings } from '../../config/settings.js'
import type { Answer } from '../../contract/contract.js'
import type { EditFollower, JsonMap } from '../../edits/edit-file.js'
import { HubError } from '../../errors.js'
import type { AlarmCheck } from '../../observe/alarms.js'
import type { Part } from '../../runtime/lifecycle.js'
import { SerialQueue } from '../../runtime/serial-queue.js'
import type { Past } from '../past/kept-messages.js'
import type { PipelineApi } from '../pipeline-api.js'
import { OwnRules, type OwnRulesOptions, refuseMistakes } from './own-rules.js'
import { PastRules, type RulesInForce } from './past-rules.js'

export interface OwnMappingOptions extends OwnRulesOptions {
  readonly settings: Settings
  /** Gets the settings, in which the rules that the hub keeps itself stand before the others. */
  readonly pipeline: SettingsFollower & { readonly api: Pick<PipelineApi, 'begin' | 'progress'> }
}

/** Somebody who asks for a change. */
export interface RuleEditor {
  readonly user: string
  readonly mayEdit: boolean
}

type Listed = Answer<'GET /api/mapping'>

/**
 * The mapping of the hub: the rules that the hub keeps itself, and then those of the settings. A change takes effect as
 * one of the setting `mapping` does: the processor thread is stopped in order and started with the new rules, while MQTT
 * goes on. Lives in the broker thread.
 */
export class OwnMapping implements Part, SettingsFollower, EditFollower, RulesInForce {
  readonly name = 'mapping'
  /** Raised while the file has mistakes. */
  readonly alarm: AlarmCheck = { name: 'mapping', check: () => this.#rules.alarm() }
  readonly #rules: OwnRules
  readonly #pipeline: SettingsFollower
  readonly #past: PastRules
  readonly #applying = new SerialQueue()
  #settings: Settings
  #isStarted = false

  constructor(options: OwnMappingOptions) {
    this.#rules = new OwnRules(options)
    this.#rules.reportTo(this)
    this.#pipeline = options.pipeline
    this.#settings = options.settings
    this.#past = new PastRules({ ...options, pipeline: options.pipeline.api, rules: this })
  }

  /** Reads the file. Started before the pipeline, which so begins with all rules. */
  async start(): Promise<void> {
    this.#rules.start()
    await this.#apply(true)
    this.#isStarted = true
    this.#past.start()
  }

  async stop(): Promise<void> {
    this.#isStarted = false
    await this.#past.stop()
    await this.#rules.stop()
    await this.#applying.idle()
  }

  onSettings(settings: Settings, isForPipeline: boolean): Promise<void> {
    this.#settings = settings
    return this.#apply(isForPipeline)
  }

  editsChanged(): void {
    if (this.#isStarted) void this.#apply(true)
  }

  /** Returns all rules in their order. */
  list({ mayEdit }: RuleEditor): Listed {
    const { path, rules } = this.#rules
    return {
      ...this.#rules.historyFor(mayEdit),
      rules: placedRules(rules, this.#settings.mapping).map(({ place, ...rule }) => ({
        place: place as NonNullable<typeof place>,
        rule: rule as Readonly<Record<string, unknown>>,
      })),
      file: path,
    }
  }

  /**
   * Replaces the rules that the hub keeps itself. Resolves when they are on disk and in force. Rejects with `bad_request`
   * and all mistakes, with `changed` or with `busy`.
   */
  async save(rules: readonly unknown[], editor: RuleEditor, match: string | undefined): Promise<Listed> {
    this.#refuseWhilePast()
    await this.#rules.patch({ rules: rules as readonly JsonMap[] }, { by: editor.user, match })
    return this.#inForce(editor)
  }

  /** Takes the last change back. Resolves when that is on disk and in force. */
  async undo(editor: RuleEditor, match: string | undefined): Promise<Listed> {
    this.#refuseWhilePast()
    await this.#rules.undo({ by: editor.user, match })
    return this.#inForce(editor)
  }

  /** The rules that the hub keeps itself. */
  get own(): readonly JsonMap[] {
    return this.#rules.rules as unknown as readonly JsonMap[]
  }

  async put(rules: readonly JsonMap[], by: string): Promise<void> {
    await this.#rules.patch({ rules }, { by, match: undefined })
    await this.#applying.idle()
  }

  /**
   * Begins to replace the rules that the hub keeps itself, for what comes and for the past. Resolves when that is on disk;
   * it goes on by itself. Rejects with `bad_request` and all mistakes, with `changed` or with `busy`.
   */
  async applyToPast(rules: readonly unknown[], past: Past, editor: RuleEditor, match: string | undefined) {
    refuseMistakes(rules)
    const [mistake] = this.#rules.mistakes
    if (mistake !== undefined)
      throw new HubError('busy', `${mistake}; mend the file first`, {
        said: { code: 'file-wrong', values: { mistake } },
      })
    if (match !== undefined && match !== '*' && match !== this.#rules.etag)
      throw new HubError('changed', 'the mapping rules of the hub are others by now; get them again', {
        said: { code: 'changed-by', values: { by: '' } },
      })
    await this.#past.apply(rules as readonly JsonMap[], past, editor.user)
  }

  /** Begins to take the last change of the past back, with its rules. Rejects with `not_found`, `changed` or `busy`. */
  undoPast(editor: RuleEditor): Promise<void> {
    return this.#past.undo(editor.user)
  }

  /** The last change of the past, and how far it is. */
  get past() {
    return { change: this.#past.last, progress: this.#past.progress }
  }

  #refuseWhilePast(): void {
    if (this.#past.isRunning)
      throw new HubError('busy', 'the past is being changed by other rules; wait until that ends', {
        said: { code: 'past-runs', values: {} },
      })
  }

  async #inForce(editor: RuleEditor): Promise<Listed> {
    await this.#applying.idle()
    return this.list(editor)
  }

  #apply(isForPipeline: boolean): Promise<void> {
    return this.#applying.run(async () => {
      const mapping = placedRules(this.#rules.rules, this.#settings.mapping)
      await this.#pipeline.onSettings({ ...this.#settings, mapping }, isForPipeline)
    })
  }
}
