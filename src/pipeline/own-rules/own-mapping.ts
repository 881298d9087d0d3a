import type { SettingsFollower } from '../../config/reload.js'
import { placedRules, type Settings } from '../../config/settings.js'
import type { Answer } from '../../contract/contract.js'
import type { EditFollower, JsonMap } from '../../edits/edit-file.js'
import type { AlarmCheck } from '../../observe/alarms.js'
import type { Part } from '../../runtime/lifecycle.js'
import { SerialQueue } from '../../runtime/serial-queue.js'
import { OwnRules, type OwnRulesOptions } from './own-rules.js'

export interface OwnMappingOptions extends OwnRulesOptions {
  readonly settings: Settings
  /** Gets the settings, in which the rules that the hub keeps itself stand before the others. */
  readonly pipeline: SettingsFollower
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
export class OwnMapping implements Part, SettingsFollower, EditFollower {
  readonly name = 'mapping'
  /** Raised while the file has mistakes. */
  readonly alarm: AlarmCheck = { name: 'mapping', check: () => this.#rules.alarm() }
  readonly #rules: OwnRules
  readonly #pipeline: SettingsFollower
  readonly #applying = new SerialQueue()
  #settings: Settings
  #isStarted = false

  constructor(options: OwnMappingOptions) {
    this.#rules = new OwnRules(options)
    this.#rules.reportTo(this)
    this.#pipeline = options.pipeline
    this.#settings = options.settings
  }

  /** Reads the file. Started before the pipeline, which so begins with all rules. */
  async start(): Promise<void> {
    this.#rules.start()
    await this.#apply(true)
    this.#isStarted = true
  }

  async stop(): Promise<void> {
    this.#isStarted = false
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
    await this.#rules.patch({ rules: rules as readonly JsonMap[] }, { by: editor.user, match })
    return this.#inForce(editor)
  }

  /** Takes the last change back. Resolves when that is on disk and in force. */
  async undo(editor: RuleEditor, match: string | undefined): Promise<Listed> {
    await this.#rules.undo({ by: editor.user, match })
    return this.#inForce(editor)
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
