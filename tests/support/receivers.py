"""What receivers run on a mail, none of it ours: two DKIM verifiers, and the MIME parser of a content filter."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dkim

_VERIFY = """
    use Mail::DKIM::Verifier; use Mail::DKIM::PublicKey; no warnings 'redefine'; my $record = shift;
    *Mail::DKIM::PublicKey::fetch_async = sub {
        my ($class, %given) = @_;
        my $key = $class->parse($record);
        $key->{Selector} = $given{Selector}; $key->{Domain} = $given{Domain}; $key->check;
        my $done = $given{Callbacks}{Success};
        return sub { $done ? $done->($key) : $key };
    };
    for my $path (@ARGV) {
        open my $mail, '<:raw', $path or die $path;
        my $v = Mail::DKIM::Verifier->new();
        while (<$mail>) { $v->PRINT($_) } $v->CLOSE; print $v->result_detail, "\\n";
    }
"""

_PARSE = """
    use Mail::SpamAssassin::Message; use JSON::PP; local $/;
    for my $path (@ARGV) {
        open my $file, '<:raw', $path or die $path;
        my $mail = Mail::SpamAssassin::Message->new({message => scalar <$file>});
        my $subject = unpack 'H*', $mail->get_header('subject');
        my @parts = map { [$_->{type}, unpack 'H*', $_->decode()] } $mail->find_parts(qr/./, 1);
        print encode_json({subject => $subject, parts => \\@parts}), "\\n"; $mail->finish;
    }
"""


@dataclass(frozen=True)
class Parsed:
    """A mail as SpamAssassin's own parser reads it: decoded, line ends as LF."""

    subject: str
    types: tuple[str, ...]
    contents: tuple[str, ...]


def dkimpy_verifies(message: bytes, selector: str, domain: str, record: str) -> bool:
    """dkimpy's verdict, in a zone that holds this one TXT record."""
    zone = {f"{selector}._domainkey.{domain}.".encode(): record.encode()}
    return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: zone.get(name)))


def mail_dkim_results(messages: Sequence[bytes], record: str, folder: Path) -> list[str]:
    """Mail::DKIM's verdict on each, `pass` when it verifies; every name it looks up holds this TXT record."""
    return _perl(_VERIFY, [record], messages, folder)


def parse_as_filter(messages: Sequence[bytes], folder: Path) -> list[Parsed]:
    """Each mail as a widespread content filter reads it. Written in Perl: no line of it is the standard library's."""
    return [_parsed(json.loads(line)) for line in _perl(_PARSE, [], messages, folder)]


def _parsed(found: dict[str, object]) -> Parsed:
    parts = found["parts"]
    assert isinstance(parts, list)
    subject = bytes.fromhex(str(found["subject"])).decode()
    # It leaves the line end before a boundary with the part; RFC 2046 5.1.1 gives it to the boundary.
    contents = (bytes.fromhex(octets).decode().replace("\r\n", "\n").removesuffix("\n") for _, octets in parts)
    return Parsed(subject.removesuffix("\n"), tuple(kind for kind, _ in parts), tuple(contents))


def _perl(script: str, first: list[str], messages: Sequence[bytes], folder: Path) -> list[str]:
    paths = [folder / f"{number}.eml" for number in range(len(messages))]
    for path, message in zip(paths, messages, strict=True):
        path.write_bytes(message)
    ran = subprocess.run(["perl", "-e", script, *first, *map(str, paths)], capture_output=True, timeout=120)
    assert ran.returncode == 0, ran.stderr.decode("utf-8", "replace")
    lines = ran.stdout.decode().splitlines()
    assert len(lines) == len(messages), ran.stderr.decode("utf-8", "replace")
    return lines
