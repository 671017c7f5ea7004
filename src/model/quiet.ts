// Quiet hours as people write them, in settings and in the gateway file: the text, and what it says. Knows neither numbers
// nor clocks.

/** Minutes of the day, local: quiet from `from` to before `to`, over midnight where `to` is earlier. */
export interface QuietRule {
  readonly from: number
  readonly to: number
}

/** null: no hour is quiet. */
export type Quiet = QuietRule | null

const RULE = /^([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])$/

/** `21:00-08:00` or `off`; undefined when it is neither. */
export function readQuiet(text: string): Quiet | undefined {
  if (text === 'off') return null
  const [, fromHour, fromMinute, toHour, toMinute] = RULE.exec(text) ?? []
  if (fromHour === undefined) return undefined
  const from = Number(fromHour) * 60 + Number(fromMinute)
  const to = Number(toHour) * 60 + Number(toMinute)
  return from === to ? undefined : { from, to }
}

/** `FR=20:00-08:00`, `US=off`, by ISO 3166-1 alpha-2; undefined when it is neither. */
export function readQuietCountry(text: string): readonly [iso: string, quiet: Quiet] | undefined {
  const [, iso = '', hours = ''] = /^([A-Z]{2})=(.+)$/.exec(text) ?? []
  const quiet = readQuiet(hours)
  return quiet === undefined ? undefined : [iso, quiet]
}
