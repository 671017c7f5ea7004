// A door that blocks no destination, suspects no loop and knows of nobody who wants to be left alone: for tests of everything else.
import { Blocked } from '../../src/routing/blocked.js'
import { Loops } from '../../src/routing/loops.js'

export const unguarded = {
  blocked: new Blocked([]),
  loops: new Loops({ returns: 0, repeats: 0 }),
  consent: { refusal: () => undefined },
  money: null,
  sandbox: false,
  guarded: () => {},
}
