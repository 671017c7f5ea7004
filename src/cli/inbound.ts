// `trunkline inbound`: the rules for messages from phones, and which of them takes one.

import type { Command } from 'commander'
import type { InboundEntry, InboundTested } from '../admin/inbound.js'
import { ask } from './ask.js'
import { table } from './print.js'
import { type GlobalOptions, optionsOf } from './settings.js'

interface TestOptions extends GlobalOptions {
  number: string
  text?: string
  from?: string
  carrier?: string
}

const PATH = '/api/v1/admin/inbound'

export function register(program: Command): void {
  const inbound = program
    .command('inbound')
    .description('Messages from phones: whose they are.')
    .addHelpText(
      'after',
      `
Rules stand in the gateway file, and the first that takes a message says whose it is; without one it is the account's that
owns the number called ('numbers' of the account):
  inbound:
    - match: { number: '1234', keyword: [win, gewinn], carrier: up, source: '49' }
      to: { account: shop, by: [bind, hook, mail] }

Examples:
  trunkline inbound list
  trunkline inbound test --number 1234 --text 'WIN a car' --from +4917112345678`,
    )
  inbound
    .command('list')
    .description('Lists the rules in their order.')
    .action((_, command: Command) => list(optionsOf(command)))
  inbound
    .command('test')
    .description('Says where a message would go, and by which rule. Sends nothing.')
    .requiredOption('--number <number>', 'the number called')
    .option('--text <text>', 'what it says')
    .option('--from <number>', 'the phone')
    .option('--carrier <name>', 'the carrier that brings it')
    .action((_, command: Command) => test(optionsOf<TestOptions>(command)))
}

async function list(options: GlobalOptions): Promise<void> {
  const { rules } = (await ask(options, { path: PATH })) as { rules: InboundEntry[] }
  if (options.json) return console.log(JSON.stringify(rules, null, 2))
  if (rules.length === 0) return console.log('no rules: messages go to the account that owns the number called')
  const rows = rules.map(rule => [
    rule.position,
    rule.name,
    shown(rule.match.number),
    shown(rule.match.keyword),
    shown(rule.match.carrier),
    shown(rule.match.source),
    rule.account,
    rule.by.join(', '),
  ])
  console.log(table(['>#', 'name', 'number', 'keyword', 'carrier', 'source', 'account', 'by'], rows))
}

const shown = (values: readonly string[]): string => (values.length === 0 ? 'any' : values.join(', '))

async function test({ number, text, from, carrier, ...options }: TestOptions): Promise<void> {
  const body = { number, text, from, carrier }
  const tested = (await ask(options, { method: 'POST', path: `${PATH}/test`, body })) as InboundTested
  if (options.json) return console.log(JSON.stringify(tested, null, 2))
  console.log(sentence(tested, number))
  if (tested.consent !== null) console.log(`before that, it is taken as ${tested.consent.toUpperCase()}`)
}

function sentence({ account, because, rule }: InboundTested, number: string): string {
  if (rule !== null && because === 'rule') {
    const name = rule.name === '' ? '' : ` (${rule.name})`
    const by = rule.by.length === 0 ? '' : ` by ${rule.by.join(' and ')}`
    return `to ${account}${by}: rule ${rule.position}${name} takes it`
  }
  if (because === 'owner') return `to ${account}: no rule takes it, and the account owns ${number}`
  return `to nobody: no rule takes it, and no account owns ${number}; it would wait in 'trunkline unclaimed'`
}
