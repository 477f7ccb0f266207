package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
)

const usage = `Bench sends many messages to a server as fast as it takes them, and measures.

  go run ./examples/bench
        to a server that it starts itself, and that needs nothing

  go run ./examples/bench -addr=127.0.0.1:2525 -n=10000 -conns=8
        to your own, which takes mail for bench.example, and drops it best

  -addr=HOST:PORT    the server
  -n=N               messages in all (default 1000)
  -size=BYTES        the size of the message, which is made up (default 1024)
  -file=PATH         the message instead: CRLF line ends, dots not doubled; with
                     -size, its length must be that
  -rcpts=R           recipients of each message (default 1)
  -conns=C           connections at once, each with its share of the messages
                     (default 1)
  -reuse=BOOL        true: a connection is kept for all its messages (default)
                     false: a new connection, and QUIT, for each message
  -tls=KIND          none (default), implicit (from the first octet), or
                     starttls (which the server must offer then); certificates
                     are not verified
  -lmtp=BOOL         true: speak LMTP; false: SMTP (default)
  -depth=D           messages under way at a time on a connection (default 1);
                     with more, one does not wait for the replies to others
  -chunking=MODE     auto: BDAT where the server announces CHUNKING (default)
                     off: always DATA
  -interceptors=SET  none (default), or all: telemetry (OpenTelemetry's SDK with
                     an exporter that drops everything), retry, ratelimit (with
                     limits that are never reached), dkim (signing by Ed25519),
                     and dialogue (which nobody reads)

The envelope is from sender@bench.example to rcpt0@bench.example and so on, and
EHLO says localhost. All messages are the same, Message-ID included: a server
that drops duplicates has less to do. The first interrupt ends the run with what
is under way, the second at once.

On standard error there are the progress of a long run and a summary. A latency
is that of one Send: with -reuse=false it has the connection and QUIT in it, and
with -depth the time behind other messages. The last line of standard output is

  {"sent":N,"elapsed_s":S,"cpu_s":S,"mallocs":N,"alloc_bytes":N,"rss_kib":N}

messages accepted; seconds from before the first connect to after the last
QUIT; seconds of CPU, user and system, in that time; allocations and their bytes
in it; the most memory that was resident, in KiB. What the system does not tell
is 0.

It ends with status 0 when all messages were accepted, 1 when not, 64 when it
was not told well what to do, and 77, after "skip: why", when that makes no
sense.
`

// What can be asked for at most: more is a slip of the keyboard, and would end in
// a lack of memory or of ports.
const (
	mostMessages    = 100_000_000
	mostOctets      = 1 << 30
	mostRecipients  = 100_000
	mostConnections = 65_535
	mostDepth       = 1_000_000 // the client knows better, and says so
)

// flags is the command line.
type flags struct {
	addr, file                   string
	n, size, rcpts, conns, depth int
	reuse, lmtp                  bool
	tls, chunking, interceptors  string
	sizeGiven                    bool
}

// parse reads a command line, as far as it goes without opening anything.
func parse(args []string) (*flags, error) {
	var f flags
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(io.Discard) // errors are one line, and the caller's to print
	set.StringVar(&f.addr, "addr", "", "")
	set.StringVar(&f.file, "file", "", "")
	set.BoolVar(&f.reuse, "reuse", true, "")
	set.BoolVar(&f.lmtp, "lmtp", false, "")
	number(set, &f.n, "n", 1000, mostMessages)
	number(set, &f.size, "size", 1024, mostOctets)
	number(set, &f.rcpts, "rcpts", 1, mostRecipients)
	number(set, &f.conns, "conns", 1, mostConnections)
	number(set, &f.depth, "depth", 1, mostDepth)
	choice(set, &f.tls, "tls", "none", "implicit", "starttls")
	choice(set, &f.chunking, "chunking", "auto", "off")
	choice(set, &f.interceptors, "interceptors", "none", "all")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: -h lists the flags", err)
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag: write them as -name=value, -h lists them", set.Arg(0))
	}
	var err error
	set.Visit(func(given *flag.Flag) {
		switch given.Name {
		case "size":
			f.sizeGiven = true
		case "addr", "file":
			// A variable of the shell that is not set must not choose the
			// embedded server.
			if given.Value.String() == "" {
				err = fmt.Errorf("-%s is empty: give it a value, or leave it out", given.Name)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return &f, f.checkAddr()
}

// checkAddr refuses what would make another URL than was meant.
func (f *flags) checkAddr() error {
	if f.addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(f.addr)
	if _, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil || host == "" || strings.ContainsAny(host, "@/?#") {
		return fmt.Errorf("-addr %q is not HOST:PORT, such as 127.0.0.1:2525 or [::1]:2525", f.addr)
	}
	return nil
}

// number defines a flag for a number from 1 to most.
func number(set *flag.FlagSet, target *int, name string, byDefault, most int) {
	*target = byDefault
	set.Func(name, "", func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("use a number from 1 to %d", most)
		}
		*target = n
		return nil
	})
}

// choice defines a flag for one of several words, the first of which is the
// default.
func choice(set *flag.FlagSet, target *string, name string, words ...string) {
	*target = words[0]
	set.Func(name, "", func(text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("use one of %s", strings.Join(words, ", "))
		}
		*target = text
		return nil
	})
}

// senseless says why what the flags ask for cannot be done, or "".
func (f *flags) senseless(size int) string {
	switch {
	case f.depth > 1 && !f.reuse:
		return "with -reuse=false a connection has one message, and -depth is about several on one"
	case f.addr == "" && f.lmtp && f.tls == "implicit":
		return "the embedded server has no LMTP with TLS from the first octet: give another one's -addr"
	case f.addr == "" && f.kept(size) > mostKept:
		return fmt.Sprintf("the embedded server keeps the messages in memory, and these are more than %d MiB: send fewer, or give another one's -addr", mostKept>>20)
	}
	return ""
}
