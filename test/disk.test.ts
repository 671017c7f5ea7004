// The disk under the spool: one that fills up, and one that is slow to say that it has written. The first is a mount of its
// own over the spool's folder, so that the database stays out of it; without the right to mount it is skipped.

import { execFileSync, spawn } from 'node:child_process'
import { appendFileSync, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { status } from '../protocols/smpp/status.js'
import { esme } from './support/esme.js'
import { emptyHouse, type House, type HouseOptions, house, story } from './support/house.js'
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

/** A house whose spool is a disk of 64 MB; undefined where nobody may mount one. */
async function smallHouse(t: Test, options: HouseOptions): Promise<House | undefined> {
  const daemon = await emptyHouse(t, options)
  const spool = spoolOf(daemon)
  mkdirSync(spool)
  try {
    run('mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', spool)
  } catch {
    t.pass('a full disk', { skip: 'no right to mount here' })
    return undefined
  }
  undertaker(spool)
  daemon.onLeft(() => run('umount', spool))
  await daemon.start()
  return daemon
}

const spoolOf = (daemon: House): string => join(daemon.dataDir, 'spool')
const foreignFile = (daemon: House): string => join(spoolOf(daemon), 'foreign')

/** Somebody else's file leaves so much. */
function fill(daemon: House, leftMb: number): void {
  const { bavail, bsize } = statfsSync(spoolOf(daemon))
  appendFileSync(foreignFile(daemon), Buffer.alloc(bavail * bsize - leftMb * 2 ** 20))
}

story('a filling disk refuses new work for now, loses nothing it took, and takes again when there is room', async t => {
  let held = true
  const carrier = await smsc(t, { submit: sm => (held ? undefined : sm.deliver()) })
  const daemon = await smallHouse(t, {
    carriers: { up: { at: carrier, window: 50 } },
    config: { spool: { reserveMb: 16 } },
  })
  if (daemon === undefined) return
  const shop = await esme(t, daemon.smpp)

  // Taken before, on its way while, and reported after the disk is full.
  const ids = (await shop.submitAll(500)).map(one => one.message_id)
  await carrier.until(() => carrier.submitted.length === 50, 'a full window')
  fill(daemon, 8)
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

  rmSync(foreignFile(daemon))
  answer = await shop.submit()
  while (answer.status === 'ESME_RMSGQFUL') answer = await shop.submit()
  t.equal(answer.status, 'ESME_ROK')
  t.equal((await shop.next()).receipt.id, answer.message_id)
  t.equal(daemon.lines('ready').length, 1, 'without a restart')
})

story(
  'when the reserve is nearly gone the carriers keep their receipts and get nothing more, until there is room',
  async t => {
    const carrier = await smsc(t, { submit: () => {} })
    const daemon = await smallHouse(t, {
      carriers: { up: { at: carrier, window: 20 } },
      config: { spool: { reserveMb: 32 } },
    })
    if (daemon === undefined) return
    const shop = await esme(t, daemon.smpp)
    const ids = (await shop.submitAll(100)).map(one => one.message_id)
    const first = await carrier.take(20)
    fill(daemon, 3)
    const phone = { source_addr: '1', destination_addr: '2' }
    while ((await carrier.mobileOriginated(phone)) === 0) t.equal(carrier.submitted.length, 20)
    t.equal(await carrier.mobileOriginated(phone), status.ESME_RX_T_APPN)

    for (const sm of first) sm.accept()
    for (const sm of first) t.equal(await sm.receipt(), status.ESME_RX_T_APPN)
    for (let n = 0; n < 50; n++) await carrier.link.request(command.enquire_link)
    t.equal(carrier.submitted.length, 20)
    t.equal((await shop.submit()).status, 'ESME_RMSGQFUL')

    carrier.script = {}
    rmSync(foreignFile(daemon))
    await carrier.until(() => carrier.submitted.length === 100, 'the others')
    for (const sm of first) t.equal(await sm.receipt(), 0)
    const reports = await shop.take(100)
    t.same(reports.map(one => one.receipt.id).sort(), [...ids].sort())
    t.equal((await shop.submit()).status, 'ESME_ROK')
    t.equal(daemon.lines('ready').length, 1, 'without a restart')
  },
)

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
