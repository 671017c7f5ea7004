// HTML as plain text, in one pass and linear time, for the few lines that a text message takes of a mail: what libraries
// do to a hostile page stops everybody else's messages for seconds. Knows no CSS; what style and script say goes.

/** Characters of text that are looked for. */
const MOST = 32_768
const HIDDEN = new Set(['head', 'title', 'style', 'script', 'template'])
const PARAGRAPHS = new Set(['p', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'ul', 'ol', 'blockquote', 'pre', 'hr'])
const LINES = new Set(['br', 'div', 'tr', 'li', 'section', 'article', 'header', 'footer', 'dt', 'dd', 'address'])
const TAG = /\/?([a-z][a-z0-9]*)/iy

/** U+00A0 to U+00FF, in their order. */
const LATIN1 =
  'nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para ' +
  'middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave ' +
  'Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc ' +
  'Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc ' +
  'iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml'
const ENTITIES: ReadonlyMap<string, string> = new Map([
  ...LATIN1.split(' ').map((name, n): [string, string] => [name, String.fromCharCode(0xa0 + n)]),
  ...Object.entries({
    amp: '&',
    lt: '<',
    gt: '>',
    quot: '"',
    apos: "'",
    euro: '€',
    hellip: '…',
    bull: '•',
    trade: '™',
  }),
  ...Object.entries({ ndash: '–', mdash: '—', lsquo: '‘', rsquo: '’', sbquo: '‚', ldquo: '“', rdquo: '”', bdquo: '„' }),
])

/** Paragraphs with a blank line between them, other blocks on lines of their own. */
export function htmlText(html: string): string {
  const { length } = html
  let out = ''
  let at = 0
  /** The next `>`: looked for once, however many `<` come before it. */
  let close = -1
  const closeAfter = (from: number): number => {
    if (close < from) close = html.indexOf('>', from)
    if (close < 0) close = length
    return close
  }
  while (at < length && out.length < MOST) {
    const open = html.indexOf('<', at)
    const end = open < 0 ? length : open
    if (end > at) out += decoded(html.slice(at, Math.min(end, at + MOST)))
    if (open < 0) break
    if (html.startsWith('<!--', open)) {
      const over = html.indexOf('-->', open + 4)
      at = over < 0 ? length : over + 3
      continue
    }
    TAG.lastIndex = open + 1
    const name = TAG.exec(html)?.[1]?.toLowerCase()
    if (name === undefined && html[open + 1] !== '!' && html[open + 1] !== '?') {
      out += '<'
      at = open + 1
      continue
    }
    at = closeAfter(open) + 1
    if (name === undefined) continue
    if (HIDDEN.has(name) && html[open + 1] !== '/') at = ending(html, name, at)
    // Empty blocks in blocks say nothing more.
    else if (out.endsWith('\n\n')) continue
    else if (PARAGRAPHS.has(name)) out += '\n\n'
    else if (LINES.has(name)) out += '\n'
    else if (name === 'td' || name === 'th') out += ' '
  }
  return out
    .split('\n')
    .map(line => line.trim())
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim()
}

/** Where what is hidden ends; the whole rest is, if nothing ends it. */
function ending(html: string, name: string, from: number): number {
  const end = new RegExp(`</${name}\\b`, 'gi')
  end.lastIndex = from
  return end.exec(html)?.index ?? html.length
}

function decoded(text: string): string {
  const plain = text.replace(/[ \t\r\n\f]+/g, ' ')
  if (!plain.includes('&')) return plain
  return plain
    .replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,8}));?/g, (whole, decimal, hex, name) => {
      if (name !== undefined) return ENTITIES.get(name) ?? whole
      const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
      return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : ''
    })
    .replace(/\u00a0/g, ' ')
}
