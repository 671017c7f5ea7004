// Perl's Net::SMPP, an implementation of the protocol that is not ours, as an ESME: a small program in Perl that does one
// call a line and says what the module read. It takes every deliver_sm. Knows the module's calls; no daemon and no test.
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type Cleaner, Waiting, within } from './peer.js'

export const hasNetSmpp = spawnSync('perl', ['-MNet::SMPP', '-MJSON::PP', '-e', '1']).status === 0

/** One JSON array a line: the call, then its arguments; the answer is one JSON object a line. */
const PROGRAM = String.raw`
use strict; use Net::SMPP; use JSON::PP;
$| = 1;
my $json = JSON::PP->new->latin1;
my ($smpp, @delivered);
my %handlers = (
  0x15 => \&Net::SMPP::handle_enquire_link,
  0x05 => sub { my ($me, $pdu) = @_; $me->deliver_sm_resp(seq => $pdu->{seq}, message_id => ''); push @delivered, $pdu },
);
sub say_pdu {
  my ($pdu) = @_;
  my %fields = defined $pdu ? %$pdu : (gone => 1);
  delete $fields{data};
  print $json->encode(\%fields), "\n";
}
while (my $line = <STDIN>) {
  my ($call, @args) = @{$json->decode($line)};
  if ($call =~ /^new_/) {
    my $resp;
    ($smpp, $resp) = Net::SMPP->$call('127.0.0.1', handlers => \%handlers, @args);
    say_pdu($resp);
  } elsif ($call eq 'delivered') {
    while (!@delivered) {
      my $pdu = $smpp->read_pdu() or last;
      my $handler = $handlers{$pdu->{cmd}};
      $handler->($smpp, $pdu) if $handler;
    }
    say_pdu(shift @delivered);
  } elsif ($call eq 'submit_multi') {
    say_pdu($smpp->submit_multi(@args));
  } else { say_pdu($smpp->$call(@args)) }
}
`

/** A PDU as the module reads it: fields and TLVs by name, numbers and octets as they are. */
export type PerlPdu = Readonly<Record<string, string | number>>

export class NetSmpp {
  /** What Perl had to say besides. */
  stderr = ''
  private readonly child: ChildProcessWithoutNullStreams
  private readonly waiting = new Waiting()
  private readonly answers: PerlPdu[] = []
  private partial = ''

  constructor(t: Cleaner) {
    this.child = spawn('perl', ['-e', PROGRAM], { stdio: 'pipe' })
    t.teardown(() => this.child.kill('SIGKILL'))
    this.child.stdout.setEncoding('latin1').on('data', (text: string) => {
      const lines = (this.partial + text).split('\n')
      this.partial = lines.pop() as string
      for (const line of lines) this.answers.push(JSON.parse(line) as PerlPdu)
      this.waiting.look()
    })
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
  }

  /** Calls a method of the module; what it returns. */
  async call(name: string, fields: Record<string, unknown> = {}): Promise<PerlPdu> {
    this.child.stdin.write(`${JSON.stringify([name, ...Object.entries(fields).flat()])}\n`)
    return this.waiting.until(
      () => this.answers.shift(),
      () => `Net::SMPP’s ${name}: ${this.stderr}`,
    )
  }

  /** The next deliver_sm; it has been answered. */
  delivered(): Promise<PerlPdu> {
    return this.call('delivered')
  }

  async end(): Promise<void> {
    this.child.stdin.end()
    await within(once(this.child, 'close'), 'the end of Perl')
  }
}
