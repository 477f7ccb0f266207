// Package dialogue writes down what a client and a server say to each other.
//
// It is what debuglevel is to Python's smtplib: a line for each command and each
// reply, for people who want to see. Credentials are replaced by "[redacted]",
// content by its size, and control characters are escaped.
package dialogue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/postrider/postrider/core"
)

// Config says where the dialogue goes. The zero value writes it to standard
// error.
type Config struct {
	// Writer gets lines such as "C: NOOP" and "S: 250 ok", those of one
	// exchange in one write. Nil means os.Stderr, unless there is a Logger.
	Writer io.Writer
	// Times puts the time of day in front of each line. It is for Writer; a
	// Logger has its own.
	Times bool
	// Logger gets a record for each line instead, at debug level, with the
	// attributes "from" ("client" or "server"), "line" and "server.address".
	Logger *slog.Logger
}

// New returns an interceptor that writes the dialogue down. Put it last: it then
// shows what really goes out. It is safe for concurrent use.
func New(config Config) (core.Interceptor, error) {
	if config.Writer != nil && config.Logger != nil {
		return core.Interceptor{}, errors.New("dialogue: Config has a Writer and a Logger: set one of them")
	}
	if config.Writer == nil {
		config.Writer = os.Stderr
	}
	d := &dialogue{Config: config}
	return core.Interceptor{
		Name:     "dialogue",
		Exchange: d.exchange,
	}, nil
}

type dialogue struct {
	Config
	mu sync.Mutex
}

// exchange notes the commands before they are written and the replies when they
// have come, so that a server that says nothing is seen to say nothing.
func (d *dialogue) exchange(next core.ExchangeFunc) core.ExchangeFunc {
	return func(ctx context.Context, x *core.Exchange) error {
		if d.Logger != nil && !d.Logger.Enabled(ctx, slog.LevelDebug) {
			return next(ctx, x)
		}
		lines := make([]string, 0, len(x.Commands))
		for i := range x.Commands {
			lines = append(lines, x.Commands[i].String())
		}
		d.write(ctx, x, "C", lines)
		err := next(ctx, x)
		lines = lines[:0]
		for _, r := range x.Replies {
			lines = append(lines, r.String())
		}
		if err != nil && len(x.Replies) == 0 {
			lines = append(lines, fmt.Sprintf("(%v)", err))
		}
		d.write(ctx, x, "S", lines)
		return err
	}
}

func (d *dialogue) write(ctx context.Context, x *core.Exchange, who string, lines []string) {
	if d.Logger != nil {
		from := map[string]string{"C": "client", "S": "server"}[who]
		for _, line := range lines {
			d.Logger.DebugContext(ctx, "smtp", "from", from, "line", line, "server.address", x.Peer().ServerName)
		}
		return
	}
	var text []byte
	for _, line := range lines {
		if d.Times {
			text = time.Now().AppendFormat(text, "15:04:05.000000 ")
		}
		text = fmt.Appendf(text, "%s: %s\n", who, line)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = d.Writer.Write(text) // that nobody reads it is no reason not to deliver
}
