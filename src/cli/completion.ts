// `trunkline completion`: words that a shell offers behind `trunkline`, for bash, zsh and fish. Made from the commands
// themselves; knows shells, and no command.

import { Argument, type Command } from 'commander'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** What may follow a command. */
interface Place {
  /** Words after `trunkline`, '' for none. */
  readonly path: string
  readonly commands: readonly Offer[]
  readonly options: readonly Offer[]
  /** Words that an argument must be one of. */
  readonly choices: readonly string[]
}
interface Offer {
  readonly word: string
  readonly what: string
}

/** @param whole the program with all its commands loaded */
export function register(program: Command, whole: () => Promise<Command>): void {
  program
    .command('completion')
    .description('Prints a script that lets a shell complete commands and options of trunkline.')
    .addArgument(new Argument('<shell>', 'which shell').choices(SHELLS))
    .addHelpText(
      'after',
      `
Examples:
  trunkline completion bash > ~/.local/share/bash-completion/completions/trunkline
  trunkline completion zsh > "\${fpath[1]}/_trunkline"
  trunkline completion fish > ~/.config/fish/completions/trunkline.fish`,
    )
    .action(async (shell: Shell) => console.log(scripts[shell](placesOf(await whole()))))
}

export function placesOf(program: Command): Place[] {
  const globals = optionsOf(program)
  const walk = (command: Command, path: string): Place[] => {
    const commands = command.commands.map(one => ({ word: one.name(), what: summaryOf(one) }))
    const own = path === '' ? [] : optionsOf(command)
    const choices = command.registeredArguments.flatMap(one => one.argChoices ?? [])
    const inner = command.commands.flatMap(one => walk(one, path === '' ? one.name() : `${path} ${one.name()}`))
    return [{ path, commands, options: [...own, ...globals, HELP], choices }, ...inner]
  }
  return walk(program, '')
}

const HELP: Offer = { word: '--help', what: 'display help for command' }

/** The first sentence. */
const summaryOf = (command: Command): string => firstOf(command.summary() || command.description())
const firstOf = (text: string): string => (/^.*?[.;:](?= |$)/s.exec(text)?.[0] ?? text).replace(/[.;:]$/, '')
const optionsOf = (command: Command): Offer[] =>
  command.options.flatMap(({ long, hidden, description }) =>
    long && !hidden ? [{ word: long, what: firstOf(description) }] : [],
  )
/** In single quotes, for every shell of ours. */
const quoted = (text: string): string => `'${text.replaceAll("'", '’')}'`

const scripts: Readonly<Record<Shell, (places: readonly Place[]) => string>> = { bash, zsh, fish }

function bash(places: readonly Place[]): string {
  const lines = places.map(({ path, commands, options, choices }) => {
    const first = [...commands.map(({ word }) => word), ...choices]
    return `    ${quoted(path)}) first=${quoted(first.join(' '))} options=${quoted(options.map(({ word }) => word).join(' '))} ;;`
  })
  return `# bash completion for trunkline
_trunkline_at() {
  case "$1" in
${lines.join('\n')}
    *) return 1 ;;
  esac
}

_trunkline() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" path='' word i first options
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [[ $word != -* ]] && _trunkline_at "\${path:+$path }$word"; then path="\${path:+$path }$word"; fi
  done
  _trunkline_at "$path"
  if [[ $cur == -* ]]; then first="$options"; fi
  COMPREPLY=($(compgen -W "$first" -- "$cur"))
}

complete -o default -F _trunkline trunkline`
}

function zsh(places: readonly Place[]): string {
  const described = ({ word, what }: Offer): string => quoted(`${word.replaceAll(':', '\\:')}:${what}`)
  const lines = places.map(({ path, commands, options, choices }) => {
    const first = [...commands, ...choices.map(word => ({ word, what: '' }))]
    return `    ${quoted(path)}) first=(${first.map(described).join(' ')}) options=(${options.map(described).join(' ')}) ;;`
  })
  return `#compdef trunkline
_trunkline_at() {
  case "$1" in
${lines.join('\n')}
    *) return 1 ;;
  esac
}

_trunkline() {
  local path_='' word i
  local -a first options
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    if [[ $word != -* ]] && _trunkline_at "\${path_:+$path_ }$word"; then path_="\${path_:+$path_ }$word"; fi
  done
  _trunkline_at "$path_"
  if [[ $PREFIX == -* ]]; then
    _describe 'option' options
  elif (( \${#first} )); then
    _describe 'command' first
  else
    _files
  fi
}

if [[ $funcstack[1] == _trunkline ]]; then _trunkline "$@"; else compdef _trunkline trunkline; fi`
}

function fish(places: readonly Place[]): string {
  const offer = (path: string, { word, what }: Offer): string => {
    const as = word.startsWith('--') ? `-l ${word.slice(2)}` : `-a ${quoted(word)}`
    return `complete -c trunkline -n ${quoted(`__trunkline_at "${path}"`)} ${as} -d ${quoted(what)}`
  }
  const lines = places.flatMap(({ path, commands, options, choices }) =>
    [...commands, ...choices.map(word => ({ word, what: '' })), ...options].map(one => offer(path, one)),
  )
  return `# fish completion for trunkline
set -g __trunkline_paths ${places.map(({ path }) => quoted(path)).join(' ')}

function __trunkline_at
  set -l path ''
  for word in (commandline -opc)[2..-1]
    set -l next (string trim "$path $word")
    if contains -- $next $__trunkline_paths
      set path $next
    end
  end
  test "$path" = "$argv[1]"
end

${lines.join('\n')}`
}
