import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Returns the licence texts of the packages to which the files belong: a bundle is a copy of their code. */
export function licences(files) {
  const folders = files.map(file => /^.*\/node_modules\/(@[^/]+\/)?[^/]+/.exec(file.replaceAll('\\', '/'))?.[0])
  const texts = [...new Set(folders)].filter(Boolean).map(folder => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const found = readdirSync(folder).filter(file => /^(licen[cs]e|copying|notice)/i.test(file))
    const text = found.sort().map(file => readFileSync(join(folder, file), 'utf8').trim())
    return [`${name} ${version} (${license})`, ...text].join('\n\n')
  })
  return `${texts.sort().join(`\n\n${'-'.repeat(80)}\n\n`)}\n`
}
