// The disk under the spool: one that fills up, and one that does not write for a while. Both are mounts of their own over
// the spool's folder, so that the database stays out of it; without the right to mount these tests are skipped.

import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { esme } from './support/esme.js'
import { emptyHouse, type House, type HouseOptions, story } from './support/house.js'
import { smsc } from './support/smsc.js'

t.jobs = 2

const run = (file: string, ...args: string[]): void => {
  execFileSync(file, args, { stdio: 'pipe' })
}

/** Whatever ends us, the mount thaws and goes when we are gone. */
function undertaker(mount: string): void {
  const script = 'cat > /dev/null; fsfreeze -u "$0" 2> /dev/null; umount -l "$0" 2> /dev/null'
  const child = spawn('/bin/sh', ['-c', script, mount], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  child.unref()
  ;(child.stdin as unknown as { unref(): void }).unref()
}

/** A house whose spool is a mount that `mount` makes; undefined, and the test skipped, where that is not allowed. */
async function mounted(t: Test, options: HouseOptions, mount: (spool: string) => void): Promise<House | undefined> {
  const one = await emptyHouse(t, options)
  const spool = join(one.dataDir, 'spool')
  mkdirSync(spool)
  try {
    mount(spool)
  } catch (error) {
    t.skip(`no mount here: ${(error as Error).message.split('\n')[1] ?? error}`)
    return undefined
  }
  undertaker(spool)
  one.onLeft(() => run('umount', spool))
  await one.start()
  return one
}

story(
  'a filling disk refuses new work for now, loses nothing that was taken, and works again when there is room',
  async t => {
    const carrier = await smsc(t, { submit: sm => (held ? undefined : sm.deliver()) })
    let held = false
    const tmpfs = (spool: string): void => run('mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', spool)
    const daemon = await mounted(
      t,
      { carriers: { up: { at: carrier, window: 50 } }, config: { spool: { reserveMb: 16 } } },
      tmpfs,
    )
    if (daemon === undefined) return
    const spool = join(daemon.dataDir, 'spool')
    const shop = await esme(t, daemon.smpp)
    const free = (): number => {
      const { bavail, bsize } = statfsSync(spool)
      return bavail * bsize
    }

    // Taken before, on their way while, and reported after the disk is full.
    held = true
    const before = await shop.submitAll(500)
    await carrier.until(() => carrier.submitted.length === 50, 'a full window')
    const foreign = join(spool, 'foreign')
    writeFileSync(foreign, Buffer.alloc(free() - 8 * 2 ** 20))
    const refused = async (): Promise<void> => {
      for (;;) {
        const { status } = await shop.submit()
        if (status === 'ESME_RMSGQFUL') return
        t.equal(status, 'ESME_ROK')
        before.push({ status, message_id: 'after' })
        // Looked at each second.
        await daemon.line(line => line.msg.includes('disk'), 0, 1_500).catch(() => {})
      }
    }
    await refused()
    t.equal(await daemon.metric('trunkline_spool_refusing', { reason: 'disk_full' }), 1)
    t.equal(await daemon.metric('trunkline_ready'), 0)

    // What was taken goes on from the reserve: sent, settled, reported, written down.
    held = false
    for (const sm of carrier.submitted.slice(0, 50)) sm.deliver()
    const reports = await shop.take(before.length)
    t.equal(new Set(reports.map(one => one.receipt.id)).size, before.length)
    await daemon.history(2 * before.length)
    t.equal(await carrier.mobileOriginated({ source_addr: '1', destination_addr: '2' }), 0)
    t.equal((await shop.submit()).status, 'ESME_RMSGQFUL', 'still')

    rmSync(foreign)
    const taken = async (): Promise<string> => {
      for (;;) {
        const { status, message_id } = await shop.submit()
        if (status === 'ESME_ROK') return message_id
        await daemon.line(() => false, 0, 200).catch(() => {})
      }
    }
    const id = await taken()
    t.equal((await shop.next()).receipt.id, id)
    t.equal(daemon.lines('ready').length, 1, 'without a restart')
  },
)

story('no submit_sm and no receipt is answered before the disk has it, and nothing else waits for that', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const daemon = await mounted(t, { carriers: { up: carrier }, config: { spool: { reserveMb: 1 } } }, spool => {
    const image = `${spool}.image`
    run('truncate', '-s', '64M', image)
    run('mkfs.ext4', '-q', image)
    run('mount', '-o', 'loop', image, spool)
  })
  if (daemon === undefined) return
  const spool = join(daemon.dataDir, 'spool')
  const shop = await esme(t, daemon.smpp)
  const first = await shop.submit()
  const sm = await carrier.next()

  run('fsfreeze', '-f', spool)
  let answered = 0
  const submitted = shop.submit().finally(() => answered++)
  const receipt = sm.receipt().finally(() => answered++)
  for (let n = 0; n < 500; n++) {
    t.equal((await shop.peer.request(command.enquire_link)).status, 0)
    t.equal((await sm.link.request(command.enquire_link)).status, 0)
  }
  t.equal(answered, 0)
  t.equal(shop.delivered.length, 0)
  t.equal(carrier.submitted.length, 1)
  run('fsfreeze', '-u', spool)
  t.equal((await submitted).status, 'ESME_ROK')
  t.equal(await receipt, 0)
  t.equal((await shop.next()).receipt.id, first.message_id)
  t.equal((await carrier.next()).text, 'hello')
})
