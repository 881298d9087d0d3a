import { open, rename } from 'node:fs/promises'

/**
 * Readers of `path` see the old text or the new, whole, whatever happens in between. Resolves when the new one is on disk.
 * `mode` holds for a file that was there with another one, too.
 */
export async function replaceFile(path: string, text: string, mode = 0o644): Promise<void> {
  const file = await open(`${path}.new`, 'w', mode)
  try {
    await file.chmod(mode)
    await file.writeFile(text)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}
