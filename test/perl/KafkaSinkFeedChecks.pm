
=head1 NAME

KafkaSinkFeedChecks - is what feeds have published what was committed?

=head1 SYNOPSIS

  my $checks = KafkaSinkFeedChecks->new(node => $node, kafka => $kafka, topics => { feed => { topic => partitions } },
	  progress_topic => ..., start_lsn => ...);
  $checks->read_commits;               # now and then: before the WAL is gone
  $checks->look;                       # at Kafka, while all goes on
  $checks->final($ledger);
  my @violations = $checks->violations;

Kafka is read as by a consumer of committed records.  The order of the commits is that
of their records in the WAL, as pg_waldump sees them.

=over

=item F1

Each record of each transaction that has committed is there, and none of another.

=item F2

None is there twice, and in each partition they stand in the order of the commits, and
those of a transaction in the order of its statements.

=item F3

No transaction is torn: its records in a partition are in one transaction of Kafka, by the
producers that the broker's files tell; and what was in one transaction of Kafka in one partition is so in all.  Only where the progress
says so was one cut.

=item F4

What a reader has seen stays as it is.

=item F5

Rows have the columns of their time.

=back

=cut

package KafkaSinkFeedChecks;

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;

use KafkaSinkTest;

my $most = 5;    # violations of a kind that are told

sub new
{
	my ($class, %self) = @_;
	return bless { violations => [], told => {}, commits => 0, seen => {}, cut => {}, %self }, $class;
}

sub violation
{
	my ($self, $kind, $words) = @_;

	push @{ $self->{violations} }, "VIOLATION $kind: $words" if $self->{told}{$kind}++ < $most;
	return;
}

sub violations { return @{ $_[0]->{violations} }; }

# --- the order of the commits ---

# What the WAL has beyond what was read.  It ends where the WAL does, which is no error.
sub read_commits
{
	my ($self) = @_;
	my $node = $self->{node};
	my $last = $self->{last_commit} // $self->{start_lsn};

	# (which is read again: a place to begin has to be one of a record)
	open my $dump, '-|', 'sh', '-c', 'exec "$@" 2> /dev/null', 'sh', $node->installed_command('pg_waldump'),
	  '-p', $node->data_dir . '/pg_wal', '-r', 'Transaction', '-s', $last
	  or die "pg_waldump: $!";
	while (<$dump>)
	{
		my ($xid, $lsn, $prepared) = m{tx:\s*(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), .*desc: COMMIT(?:_PREPARED (\d+)| )} or next;

		$self->{last_commit} = $lsn;
		$xid = $prepared if defined $prepared;
		next if exists $self->{position}{$xid};
		$self->{position}{$xid} = $self->{commits}++;
		$self->{xid_at}{ _number($lsn) } = $xid;
	}
	close $dump;
	return;
}

sub _number
{
	my ($high, $low) = split m{/}, $_[0];

	return (hex($high) << 32) + hex $low;
}

# --- records ---

# (xid, number, of how many, columns as told, columns) of a record; undef if it is none of ours.
# What has no value follows what was deleted.
sub _parse
{
	my ($key, $value, $before) = @_;

	if ($value eq '\N')
	{
		return undef unless $before && $before->{deleted} && $before->{key} eq $key;
		return { xid => $before->{xid}, i => $before->{i} + 1, n => $before->{n}, key => $key };
	}
	if ($value =~ /^\{"xid":(\d+),"i":(-?\d+),"n":(-?\d+),/)
	{
		return { xid => $1, i => $2, n => $3, key => $key };
	}
	my ($old, $new, $xid, $op) = $value =~ /^\{"before":(.*?),"after":(.*?),"source":.*"txId":(\d+),.*"op":"(.)"/ or return undef;
	my $row = $op eq 'd' ? $old : $new;
	my ($row_xid, $i, $n, $cols) = $row =~ /"xid":(\d+),"i":(-?\d+),"n":(-?\d+),"cols":(\d+)/ or return undef;

	return {
		xid => $xid, i => $op eq 'd' ? $i + 1 : $i, n => $n, key => $key,
		deleted => $op eq 'd', row_xid => $row_xid, told => $cols, columns => scalar(() = $row =~ /"\w+":/g) };
}

# Each record of a topic, in the order of each partition.
sub _each
{
	my ($self, $topic, $do) = @_;

	open my $cat, '-|', $self->{kafka}->_kfk('cat', $topic) or die "kfk: $!";
	while (<$cat>)
	{
		chomp;
		$do->(split /\t/, $_, -1);
	}
	close $cat or die "kfk cat $topic failed";
	return;
}

sub _topics
{
	my ($self) = @_;

	return map { my $feed = $_; map { [ $feed, $_ ] } sort keys %{ $self->{topics}{$feed} } } sort keys %{ $self->{topics} };
}

# What was seen before is there, where it was.
sub _check_stays
{
	my ($self, $name, $count, $offset) = @_;
	my $seen = $self->{seen}{$name} //= [];

	if (defined $seen->[$count])
	{
		$self->violation('F4', "$name: record $count was at $seen->[$count], and is at $offset") if $seen->[$count] != $offset;
		return;
	}
	$seen->[$count] = $offset;
	return;
}

# While all goes on; false if Kafka does not answer.
sub look
{
	my ($self) = @_;
	my %count;

	return eval {
		foreach ($self->_topics)
		{
			my (undef, $topic) = @$_;
			$self->_each($topic, sub { my ($part, $offset) = @_; my $name = "$topic-$part"; $self->_check_stays($name, $count{$name}++ // 0, $offset); });
		}
		$self->{looks}++;
		1;
	} // 0;
}

# --- at the end ---

# Of all topics; keeps of each transaction how many records it has, and the sum of their numbers.
sub _read_topic
{
	my ($self, $feed, $topic, $ledger, $found) = @_;
	my (%last, %count);

	$self->_each(
		$topic,
		sub {
			my ($part, $offset, $key, $value) = @_;
			my $name = "$topic-$part";
			my $before = $last{$part};
			my $r = _parse($key, $value, $before);

			$self->_check_stays($name, $count{$name}++ // 0, $offset);
			if (!$r)
			{
				$self->violation('F1', "$name at $offset is no record of the load: $key $value");
				return;
			}
			$r->{position} = $self->{position}{ $r->{xid} };
			my $n = $ledger->{ $r->{xid} };
			if (!defined $n || !defined $r->{position} || $r->{n} != $n || $r->{i} < 1 || $r->{i} > $n)
			{
				$self->violation('F1', "$name at $offset: $value, of which the ledger has " . ($n // 'nothing'));
				return;
			}
			$self->violation('F2', "$name at $offset: $r->{i} of $r->{xid} ($r->{position}) follows $before->{i} of $before->{xid} ($before->{position})")
			  if $before && ($before->{position} <=> $r->{position} || $before->{i} <=> $r->{i}) >= 0;
			$self->violation('F5', "$name at $offset: $value") if defined $r->{told} && ($r->{told} != $r->{columns} || $r->{row_xid} != $r->{xid});
			my $f = $found->{ $r->{xid} } //= [ 0, 0 ];
			$f->[0]++;
			$f->[1] += $r->{i};
			$last{$part} = $r;
			push @{ $self->{placed}{$feed}{$name} }, [ $offset, $r->{position} ];
		});
	return;
}

sub _check_complete
{
	my ($self, $feed, $ledger, $found) = @_;

	foreach my $xid (sort { $a <=> $b } keys %$ledger)
	{
		my $n = $ledger->{$xid};
		my ($count, $sum) = @{ $found->{$xid} // [ 0, 0 ] };

		$self->violation('F1', "$feed: $count of the $n records of $xid") if $count < $n;
		$self->violation('F2', "$feed: $count records of $xid, which has $n") if $count > $n || ($count == $n && $sum != $n * ($n + 1) / 2);
		$self->{records} += $count;
	}
	$self->{transactions} += keys %$ledger;
	return;
}

# Transactions that the progress says were cut: their positions.
sub _read_cuts
{
	my ($self) = @_;

	$self->_each(
		$self->{progress_topic},
		sub {
			my ($inside) = $_[3] =~ m{"inside": ?"([0-9A-F]+/[0-9A-F]+)"} or return;
			my $xid = $self->{xid_at}{ _number($inside) } // return;

			$self->{cut}{ $self->{position}{$xid} } = 1;
		});
	return;
}

# Runs of records of one transaction of Kafka, in each partition: [ positions ].
sub _runs
{
	my ($self, $feed) = @_;
	my %runs;

	foreach my $topic (sort keys %{ $self->{topics}{$feed} })
	{
		my $batches = $self->{kafka}->transactions($topic);

		foreach my $part (0 .. $self->{topics}{$feed}{$topic} - 1)
		{
			my $placed = $self->{placed}{$feed}{"$topic-$part"} // next;
			my @of = @{ $batches->{$part} };
			my ($run, $in, $at) = (undef, '', 0);

			foreach (@$placed)
			{
				my ($offset, $position) = @$_;

				$at++ while $at < $#of && $offset > $of[$at][1];
				if ($of[$at][2] ne $in)
				{
					$in = $of[$at][2];
					push @{ $runs{"$topic-$part"} }, $run = [];
				}
				push @$run, $position unless @$run && $run->[-1] == $position;
			}
		}
	}
	return \%runs;
}

# Stretches of the order of commits that are known to be in one transaction of Kafka each: from and
# to, merged, in order.  A transaction that was cut is in none.
sub _stretches
{
	my ($self, $runs) = @_;
	my @stretches;

	foreach my $run (map { @$_ } values %$runs)
	{
		my $open;

		foreach (@$run)
		{
			if ($self->{cut}{$_}) { undef $open; next; }
			if ($open) { $open->[1] = $_; }
			else { push @stretches, $open = [ $_, $_ ]; }
		}
	}
	my @merged;
	foreach (sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } @stretches)
	{
		if (@merged && $_->[0] <= $merged[-1][1])
		{
			$merged[-1][1] = $_->[1] if $_->[1] > $merged[-1][1];
		}
		else { push @merged, [@$_]; }
	}
	return \@merged;
}

# Between two runs of a partition a transaction of Kafka has ended: no stretch can go over that.
sub _check_torn
{
	my ($self, $feed) = @_;
	my $runs = $self->_runs($feed);
	my $stretches = $self->_stretches($runs);

	$self->{stretches} += @$stretches;
	foreach my $name (sort keys %$runs)
	{
		my @of = @{ $runs->{$name} };
		my $at = 0;

		for my $i (1 .. $#of)
		{
			my ($end, $begin) = ($of[ $i - 1 ][-1], $of[$i][0]);

			next if $self->{cut}{$end} || $self->{cut}{$begin};
			$at++ while $at < $#$stretches && $stretches->[$at][1] < $end;
			$self->violation('F3', "$feed: in $name a transaction of Kafka ends between commits $end and $begin, elsewhere none from $stretches->[$at][0] to $stretches->[$at][1]")
			  if $stretches->[$at][0] <= $end && $stretches->[$at][1] >= $begin;
		}
	}
	return;
}

sub final
{
	my ($self, $ledger) = @_;

	$self->read_commits;
	$self->_read_cuts;
	foreach my $feed (sort keys %{ $self->{topics} })
	{
		my %found;

		foreach my $xid (keys %{ $ledger->{$feed} })
		{
			$self->violation('the check', "the WAL has no commit of $xid") unless exists $self->{position}{$xid};
		}
		$self->_read_topic($feed, $_, $ledger->{$feed}, \%found) foreach sort keys %{ $self->{topics}{$feed} };
		$self->_check_complete($feed, $ledger->{$feed}, \%found);
		$self->_check_torn($feed);
	}
	return;
}

1;
