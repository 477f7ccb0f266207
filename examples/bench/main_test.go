package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench runs the program.
func bench(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(args, &out, &errs)
	return status, out.String(), errs.String()
}

// result reads the last line of standard output.
func result(t *testing.T, stdout string) map[string]float64 {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	var values map[string]float64
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &values); err != nil {
		t.Fatalf("%v in the last line of:\n%s", err, stdout)
	}
	want := []string{"alloc_bytes", "cpu_s", "elapsed_s", "mallocs", "rss_kib", "sent"}
	if keys := slices.Sorted(maps.Keys(values)); !slices.Equal(keys, want) {
		t.Errorf("keys %v", keys)
	}
	return values
}

// write writes a file for the time of the test.
func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "message.eml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWithoutFlags_isToTheEmbeddedServer(t *testing.T) {
	status, out, errs := bench(t)
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	if values := result(t, out); values["sent"] != 1000 || values["elapsed_s"] <= 0 || values["mallocs"] < 1000 || values["alloc_bytes"] < 1000 {
		t.Errorf("result %v", values)
	}
	for _, part := range []string{"the server is in this process", "1000 messages of 1024 octets", "1000 messages accepted", "latency in ms: min 0.", "p99"} {
		if !strings.Contains(errs, part) {
			t.Errorf("%q is not in:\n%s", part, errs)
		}
	}
}

func TestEmbeddedServer_doesWhatTheFlagsSay(t *testing.T) {
	for _, args := range []string{
		"-tls=starttls", "-tls=implicit", "-lmtp=true", "-lmtp=true -tls=starttls", "-reuse=false", "-depth=4",
		"-interceptors=all", "-interceptors=all -depth=4 -tls=starttls", "-chunking=off", "-size=256", "-conns=40",
	} {
		t.Run(args, func(t *testing.T) {
			status, out, errs := bench(t, append(strings.Fields(args), "-n=20")...)
			if status != 0 || result(t, out)["sent"] != 20 {
				t.Errorf("status %d, output %q, errors:\n%s", status, out, errs)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	status, out, errs := bench(t, "-h")
	if status != 0 || errs != "" {
		t.Errorf("status %d, errors %q", status, errs)
	}
	for _, name := range []string{"addr", "n", "size", "file", "rcpts", "conns", "reuse", "tls", "lmtp", "depth", "chunking", "interceptors"} {
		if !strings.Contains(out, "\n  -"+name+"=") {
			t.Errorf("-%s is not explained", name)
		}
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	message := write(t, "Subject: hi\r\n\r\nhi\r\n")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-n=0"}, "-n: use a number from 1"},
		{[]string{"-n=many"}, "-n: use a number from 1"},
		{[]string{"-n=100000001"}, "-n: use a number from 1"},
		{[]string{"-rcpts=0"}, "-rcpts: use a number from 1"},
		{[]string{"-conns=-1"}, "-conns: use a number from 1"},
		{[]string{"-depth=0"}, "-depth: use a number from 1"},
		{[]string{"-depth=101"}, "100 is the most"},
		{[]string{"-size=0"}, "-size: use a number from 1"},
		{[]string{"-size=255"}, "256 is the least"},
		{[]string{"-size=20", "-file=" + message}, "-size is 20, and " + message + " has 19 octets"},
		{[]string{"-file=" + message + ".not"}, "-file: open"},
		{[]string{"-file="}, "-file is empty"},
		{[]string{"-file=" + write(t, "")}, "is empty"},
		{[]string{"-file=" + write(t, "Subject: hi\r\n\nhi\r\n")}, "line 2"},
		{[]string{"-file=" + write(t, "Subject: hi\r\n\r\nhi\rho\r\n")}, "line 3"},
		{[]string{"-file=" + write(t, "Subject: hi\r\n\r\nhi")}, "no CRLF behind its last line"},
		{[]string{"-addr="}, "-addr is empty"},
		{[]string{"-addr=localhost"}, "not HOST:PORT"},
		{[]string{"-addr=:25"}, "not HOST:PORT"},
		{[]string{"-addr=localhost:smtp"}, "not HOST:PORT"},
		{[]string{"-addr=localhost:65536"}, "not HOST:PORT"},
		{[]string{"-addr=me@localhost:25"}, "not HOST:PORT"},
		{[]string{"-addr=localhost:0"}, "port"},
		{[]string{"-reuse=perhaps"}, "-reuse"},
		{[]string{"-lmtp=perhaps"}, "-lmtp"},
		{[]string{"-tls=yes"}, "-tls: use one of none, implicit, starttls"},
		{[]string{"-chunking=on"}, "-chunking: use one of auto, off"},
		{[]string{"-interceptors=some"}, "-interceptors: use one of none, all"},
		{[]string{"-reuse", "false"}, `"false" is not a flag`},
		{[]string{"-verbose"}, "-verbose"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			status, out, errs := bench(t, tt.args...)
			if status != 64 || out != "" || !strings.HasPrefix(errs, "bench: ") || !strings.Contains(errs, tt.want) {
				t.Errorf("status %d, output %q, errors %q", status, out, errs)
			}
			if strings.Count(errs, "\n") != 1 {
				t.Errorf("not one line: %q", errs)
			}
		})
	}
}

func TestSkips(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-depth=2 -reuse=false", "-depth"},
		{"-lmtp=true -tls=implicit", "embedded"},
		{"-n=200000 -size=4096", "512 MiB"},
		{"-n=100000 -rcpts=100000", "512 MiB"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			status, out, errs := bench(t, strings.Fields(tt.args)...)
			if status != 77 || errs != "" || !strings.HasPrefix(out, "skip: ") || !strings.Contains(out, tt.want) || strings.Count(out, "\n") != 1 {
				t.Errorf("status %d, output %q, errors %q", status, out, errs)
			}
		})
	}
}

// full is a disk that is.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestResultThatCannotBeWritten_isAFailure(t *testing.T) {
	for _, args := range []string{"-n=1", "-h", "-depth=2 -reuse=false"} {
		var errs bytes.Buffer
		if status := run(strings.Fields(args), full{}, &errs); status != 1 || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("%s: status %d: %s", args, status, &errs)
		}
	}
}

// A server that is not there is not asked for a thousand times.
func TestNoServer_isAFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	asked := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			_, _ = io.WriteString(conn, "421 4.3.2 not today\r\n")
			_ = conn.Close()
		}
		asked <- n
	}()
	status, out, errs := bench(t, "-addr="+l.Addr().String(), "-conns=2")
	if status != 1 || !strings.Contains(errs, "0 of 1000 messages accepted, 2 not accepted, 998 not tried; the first error: ") || !strings.Contains(errs, "not today") {
		t.Errorf("status %d: %s", status, errs)
	}
	if sent := result(t, out)["sent"]; sent != 0 {
		t.Errorf("%v sent", sent)
	}
	_ = l.Close()
	if n := <-asked; n != 2 {
		t.Errorf("%d connections", n)
	}
}
