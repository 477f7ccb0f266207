package plugins

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
)

func TestLineLog_copy(t *testing.T) {
	for _, tt := range []struct{ rule, printed, want string }{
		{"a record of package slog keeps its level", `{"time":"x","level":"WARN","msg":"oh","b":1,"a":"x"}`, "level=WARN msg=oh a=x b=1\n"},
		{"a record with a level between", `{"level":"ERROR+1","msg":"oh"}`, "level=ERROR+1 msg=oh\n"},
		{"a message that is no text", `{"level":"INFO","msg":1}`, `level=INFO msg="the plugin prints" source=stderr line="{\"level\":\"INFO\",\"msg\":1}"` + "\n"},
		{"a level that is none", `{"level":"x","msg":"oh"}`, `level=INFO msg="the plugin prints" source=stderr line="{\"level\":\"x\",\"msg\":\"oh\"}"` + "\n"},
		{"text", "hello\r\n\r\nworld", "level=INFO msg=\"the plugin prints\" source=stderr line=hello\nlevel=INFO msg=\"the plugin prints\" source=stderr line=world\n"},
		{"a line end within a record", `{"level":"INFO","msg":"a\nlevel=ERROR msg=b"}`, `level=INFO msg="a\nlevel=ERROR msg=b"` + "\n"},
		{"what cannot be printed", "\x1b[2J", `level=INFO msg="the plugin prints" source=stderr line="\x1b[2J"` + "\n"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var log bytes.Buffer
			newLineLog(plainLog(&log)).copy(strings.NewReader(tt.printed), "stderr")
			if log.String() != tt.want {
				t.Errorf("%swant\n%s", &log, tt.want)
			}
		})
	}
}

func TestLineLog_copy_isBounded(t *testing.T) {
	var log bytes.Buffer
	l := newLineLog(plainLog(&log))
	l.copy(strings.NewReader(strings.Repeat("x", 1<<20)+"\nnext\n"), "stdout")
	if lines := strings.Split(log.String(), "\n"); len(lines) != 3 || len(lines[0]) > maxLine+100 || !strings.HasSuffix(lines[1], "line=next") {
		t.Errorf("%d lines, the first one of %d octets", len(lines), len(lines[0]))
	}
	log.Reset()
	l.copy(strings.NewReader(strings.Repeat("x\n", 100_000)), "stdout")
	if lines := strings.Count(log.String(), "\n"); lines > 2*linesAtOnce || !strings.Contains(log.String(), "lines were dropped") {
		t.Errorf("%d lines", lines)
	}
}

func plainLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func FuzzReadRecord(f *testing.F) {
	for _, seed := range []string{`{"level":"INFO","msg":"x"}`, `{"@message":1}`, `{"level":{},"msg":[]}`, "{", "x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) == 0 {
			return // is not asked for
		}
		_, message, attrs, ok := readRecord(line)
		if !ok && (message != "" || attrs != nil) {
			t.Errorf("%q, %v of no record", message, attrs)
		}
	})
}

func FuzzReadPrinted(f *testing.F) {
	f.Add([]byte("\x08\x01\x12\x02hi"))
	f.Add([]byte("\x12\xff"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if _, data := readPrinted(message); len(data) > len(message) {
			t.Errorf("%d octets of %d", len(data), len(message))
		}
	})
}

func FuzzCheckHandshake(f *testing.F) {
	f.Add("1|1|unix|/run/x/s|grpc|" + strings.Repeat("A", 60))
	f.Add("||||||")
	f.Fuzz(func(t *testing.T, line string) {
		if checkHandshake(line, "/run/x") == nil && !strings.Contains(line, "|unix|") {
			t.Errorf("%q is taken", line)
		}
	})
}
