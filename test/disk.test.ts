// The disk under the spool: one that fills up, and one that is slow to say that it has written. The first is a mount of its
// own over the spool's folder, so that the database stays out of it; without the right to mount it is skipped.

import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { esme } from './support/esme.js'
import { emptyHouse, house, story } from './support/house.js'
import { temporaryDirectory } from './support/postgres.js'
import { smsc } from './support/smsc.js'

t.jobs = 2

const run = (file: string, ...args: string[]): void => {
  execFileSync(file, args, { stdio: 'pipe' })
}

/** Whatever ends us, the mount goes when we are gone. */
function undertaker(mount: string): void {
  const child = spawn('/bin/sh', ['-c', 'cat > /dev/null; umount -l "$0" 2> /dev/null', mount], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  child.unref()
  ;(child.stdin as unknown as { unref(): void }).unref()
}

story('a filling disk refuses new work for now, loses nothing it took, and takes again when there is room', async t => {
  let held = true
  const carrier = await smsc(t, { submit: sm => (held ? undefined : sm.deliver()) })
  const daemon = await emptyHouse(t, {
    carriers: { up: { at: carrier, window: 50 } },
    config: { spool: { reserveMb: 16 } },
  })
  const spool = join(daemon.dataDir, 'spool')
  mkdirSync(spool)
  try {
    run('mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', spool)
  } catch {
    t.pass('a full disk', { skip: 'no right to mount here' })
    return
  }
  undertaker(spool)
  daemon.onLeft(() => run('umount', spool))
  await daemon.start()
  const shop = await esme(t, daemon.smpp)

  // Taken before, on its way while, and reported after the disk is full.
  const ids = (await shop.submitAll(500)).map(one => one.message_id)
  await carrier.until(() => carrier.submitted.length === 50, 'a full window')
  const foreign = join(spool, 'foreign')
  const { bavail, bsize } = statfsSync(spool)
  writeFileSync(foreign, Buffer.alloc(bavail * bsize - 8 * 2 ** 20))
  // Free space is looked at each second; until then it takes what comes.
  let answer = await shop.submit()
  while (answer.status === 'ESME_ROK') {
    ids.push(answer.message_id)
    answer = await shop.submit()
  }
  t.equal(answer.status, 'ESME_RMSGQFUL')
  t.equal(await daemon.metric('trunkline_spool_refusing', { reason: 'disk_full' }), 1)
  t.equal((await daemon.get('/ready')).status, 503)

  // What was taken goes on from the reserve: sent, settled, reported, written down.
  held = false
  for (const sm of carrier.submitted.slice(0, 50)) sm.deliver()
  const reports = await shop.take(ids.length)
  t.same(reports.map(one => one.receipt.id).sort(), [...ids].sort())
  await daemon.history(2 * ids.length)
  t.equal(await carrier.mobileOriginated({ source_addr: '1', destination_addr: '2' }), 0)
  t.equal((await shop.submit()).status, 'ESME_RMSGQFUL', 'still full')

  rmSync(foreign)
  answer = await shop.submit()
  while (answer.status === 'ESME_RMSGQFUL') answer = await shop.submit()
  t.equal(answer.status, 'ESME_ROK')
  t.equal((await shop.next()).receipt.id, answer.message_id)
  t.equal(daemon.lines('ready').length, 1, 'without a restart')
})

/** A library under the daemon that makes each sync of a file wait as long as the file that HOLD_SYNC names is there. */
const HOLD = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static int held(const char *name, int fd) {
  const char *gate = getenv("HOLD_SYNC");
  while (gate && access(gate, F_OK) == 0) usleep(1000);
  return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fdatasync(int fd) { return held("fdatasync", fd); }
int fsync(int fd) { return held("fsync", fd); }
`

story('no submit_sm and no receipt is answered before the disk has it, and nothing else waits for that', async t => {
  const dir = temporaryDirectory()
  t.teardown(() => rmSync(dir, { recursive: true }))
  const [library, gate] = [join(dir, 'hold.so'), join(dir, 'gate')]
  writeFileSync(join(dir, 'hold.c'), HOLD)
  try {
    run('cc', '-shared', '-fPIC', '-o', library, join(dir, 'hold.c'))
  } catch {
    t.pass('a slow disk', { skip: 'no C compiler here' })
    return
  }
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const daemon = await house(t, { carriers: { up: carrier }, env: { LD_PRELOAD: library, HOLD_SYNC: gate } })
  const shop = await esme(t, daemon.smpp)
  const first = await shop.submit()
  const sm = await carrier.next()

  writeFileSync(gate, '')
  let answered = 0
  const count = <T>(answer: T): T => {
    answered++
    return answer
  }
  const work = Promise.all([shop.submit().then(count), sm.receipt().then(count)])
  for (let n = 0; n < 300; n++) {
    await shop.peer.request(command.enquire_link)
    await sm.link.request(command.enquire_link)
  }
  t.same([answered, shop.delivered.length, carrier.submitted.length], [0, 0, 1])
  rmSync(gate)
  const [submitted, code] = await work
  t.same([submitted.status, code], ['ESME_ROK', 0])
  t.equal((await shop.next()).receipt.id, first.message_id)
  t.equal((await carrier.next()).text, 'hello')
})
