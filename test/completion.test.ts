// Completion in shells: what the scripts offer where.

import { execFile } from 'node:child_process'
import t from 'tap'
import { trunkline } from './support/house.js'

t.test('bash offers commands, their commands, and the options of the one that was typed', async t => {
  const { code, stdout } = await trunkline(['completion', 'bash'])
  t.equal(code, 0)
  const asked = [
    ['we', 'webhook'],
    ['webhook re', 'remove replay'],
    ['webhook add --ev', '--events'],
    ['--json queue mo', 'move'],
    ['completion z', 'zsh'],
    ['serve --cat', '--catch'],
    ['serve x', ''],
  ] as const
  const lines = asked.map(([typed]) => {
    const words = typed.split(' ')
    return `COMP_WORDS=(trunkline ${words.join(' ')}); COMP_CWORD=${words.length}; _trunkline; echo "\${COMPREPLY[*]}"`
  })
  const said = await new Promise<string>((resolve, reject) => {
    execFile('bash', ['-c', `${stdout}\n${lines.join('\n')}`], (error, out) => (error ? reject(error) : resolve(out)))
  })
  t.same(
    said.trimEnd().split('\n'),
    asked
      .map(([, offered]) => offered)
      .join('\n')
      .trimEnd()
      .split('\n'),
  )
})

t.test('every shell is told of every command', async t => {
  const [help, zsh, fish, other] = await Promise.all([
    trunkline(['--help']),
    trunkline(['completion', 'zsh']),
    trunkline(['completion', 'fish']),
    trunkline(['completion', 'tcsh']),
  ])
  const names = [...help.stdout.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name as string)
  t.ok(names.length > 15)
  for (const name of names.filter(one => one !== 'help')) {
    t.ok(zsh.stdout.includes(`'${name}')`), `zsh: ${name}`)
    t.ok(fish.stdout.includes(` -a '${name}' `), `fish: ${name}`)
  }
  t.match(other, { code: 2, stderr: /Allowed choices are bash, zsh, fish/ })
})
