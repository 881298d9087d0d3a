import { useEffect, useState } from 'preact/hooks'
import { withStyle } from '../styles.js'
import { say } from '../texts/language.js'
import type { HomeModel } from './model.js'

type Arrange = typeof import('../edit/arrange.js').Arrange

/** Home in edit mode, whose code is loaded only then: the first visit must stay small. */
export function EditMode({ model }: { readonly model: HomeModel }) {
  const [loaded, setLoaded] = useState<{ readonly Arrange: Arrange }>()
  const [failure, setFailure] = useState('')
  useEffect(() => {
    Promise.all([import('../edit/arrange.js'), withStyle('edit.css')]).then(
      ([{ Arrange }]) => setLoaded({ Arrange }),
      (error: unknown) => setFailure((error as Error).message),
    )
  }, [])
  if (loaded) return <loaded.Arrange model={model} />
  return <p class="hint home-wait">{failure ? say('home.failed', { why: failure }) : say('home.loading')}</p>
}
