package plugins

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxLine is how much of a line that a plugin prints is logged, in octets.
	maxLine = 8 << 10
	// linesPerSecond is how many lines of a plugin are logged in a second, and
	// linesAtOnce how many in a row. The others are counted.
	linesPerSecond, linesAtOnce = 100, 200
)

// lineLog writes what a plugin prints to the host's log. It is safe for concurrent
// use by the sources of one plugin.
type lineLog struct {
	log   *slog.Logger
	limit *rate.Limiter
}

func newLineLog(log *slog.Logger) *lineLog {
	return &lineLog{log, rate.NewLimiter(linesPerSecond, linesAtOnce)}
}

// copy logs what r has until it ends, whatever the plugin prints: nothing is kept
// but a line, and what is too much is not logged but read all the same, so that
// the plugin is not held up.
func (l *lineLog) copy(r io.Reader, source string) {
	b := bufio.NewReaderSize(r, maxLine)
	var dropped int
	reported := time.Now().Add(-time.Second)
	for {
		line, err := b.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if text := bytes.TrimRight(line, "\r\n"); len(text) > 0 {
			if l.limit.Allow() {
				if time.Since(reported) >= time.Second {
					l.report(&dropped)
					reported = time.Now()
				}
				l.line(text, source)
			} else {
				dropped++
			}
		}
		for cut {
			_, err = b.ReadSlice('\n')
			cut = errors.Is(err, bufio.ErrBufferFull)
		}
		if err != nil {
			l.report(&dropped)
			return
		}
	}
}

func (l *lineLog) report(dropped *int) {
	if *dropped > 0 {
		l.log.Warn("the plugin prints too much: lines were dropped", "lines", *dropped)
		*dropped = 0
	}
}

// line logs one line. The sdk writes records of package slog in JSON; anything else
// is text.
func (l *lineLog) line(text []byte, source string) {
	ctx := context.Background()
	if level, message, attrs, ok := readRecord(text); ok {
		l.log.LogAttrs(ctx, level, message, attrs...)
		return
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, "the plugin prints", slog.String("source", source), slog.String("line", string(text)))
}

// readRecord reads a record as slog.JSONHandler writes it. Nothing is taken for
// granted: what a plugin prints may be anything.
func readRecord(text []byte) (level slog.Level, message string, attrs []slog.Attr, ok bool) {
	if text[0] != '{' {
		return 0, "", nil, false
	}
	var record map[string]any
	if json.Unmarshal(text, &record) != nil {
		return 0, "", nil, false
	}
	message, isText := record[slog.MessageKey].(string)
	name, isName := record[slog.LevelKey].(string)
	if !isText || !isName || level.UnmarshalText([]byte(name)) != nil {
		return 0, "", nil, false
	}
	for key, value := range record {
		switch key {
		case slog.MessageKey, slog.LevelKey, slog.TimeKey:
		default:
			attrs = append(attrs, slog.Any(key, value))
		}
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	return level, message, attrs, true
}

// drainTime is how long is read on after the end of a process: somebody else may
// hold the other end of a pipe.
const drainTime = 500 * time.Millisecond
