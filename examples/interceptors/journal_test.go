package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// The archive has what the server has got, from whatever body, and nothing else.
func proveJournal(t *testing.T, change func(*core.Config)) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		if to.Address == "nobody@example.net" {
			return smtptest.Reply("550 5.1.1 no such mailbox")
		}
		return nil
	}})
	archive := folder(t.TempDir())
	config := server.Config()
	change(&config)
	client := newClient(t, config, suppression(gone), journal{archive}.interceptor())
	results := sendAll(t, client, func(n int) *core.Message {
		m := letter(n, "ann@example.net", "gone@example.net")
		switch text := fmt.Sprintf("Subject: number %d\n\nno CR", n); n % 4 {
		case 1:
			m.Body = core.String(text)
		case 2:
			m.Body = core.Reader(strings.NewReader(text))
		case 3:
			m.To = core.Recipients("nobody@example.net", "gone@example.net")
		}
		return m
	})
	for _, r := range results {
		want := core.Accepted
		if r.Index%4 == 3 {
			want = core.Refused
		}
		wantOutcomes(t, r.Receipt, want, core.Refused)
	}
	var got []kept
	for _, m := range server.Messages() {
		got = append(got, kept{envelope{m.From, []string{m.To[0].Address}}, string(m.Content)})
	}
	archived, err := archive.read()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]kept{got, archived} {
		slices.SortFunc(list, func(a, b kept) int { return strings.Compare(a.content, b.content) })
	}
	if len(got) != batch*3/4 || !reflect.DeepEqual(archived, got) {
		t.Errorf("the archive has %v\nthe server has %v", archived, got)
	}
	wantFiles(t, archive, 2*len(got))
}

// wantFiles counts the files in a folder.
func wantFiles(t *testing.T, f folder, want int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(string(f), "*"))
	if err != nil || len(names) != want {
		t.Errorf("there are %d files, %v, want %d: %v", len(names), err, want, names)
	}
}

// stuck is a body whose Read blocks until it is closed.
type stuck struct{ reading chan struct{} }

func (stuck) Size() int64 { return -1 }

func (b stuck) Open(context.Context) (io.ReadCloser, error) {
	r, _ := io.Pipe()
	close(b.reading)
	return r, nil
}

func TestJournal(t *testing.T) {
	unreadable := core.File("/nonexistent/letter.eml")
	for _, tt := range []struct {
		rule   string
		folder string // below a temporary one
		body   func(cancel func()) core.Body
		want   core.Outcome
		is     error
	}{
		{"what cannot be archived is not sent, and later it may be", "missing", nil, core.Deferred, os.ErrNotExist},
		{"a body that cannot be opened is the caller's", "", func(func()) core.Body { return unreadable }, core.Refused, os.ErrNotExist},
		{"a body that blocks is left when the context ends", "", func(cancel func()) core.Body {
			b := stuck{make(chan struct{})}
			go func() {
				<-b.reading
				cancel()
			}()
			return b
		}, core.Deferred, context.Canceled},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			server := smtptest.NewServer(t, smtptest.ServerOptions{})
			archive := folder(filepath.Join(t.TempDir(), tt.folder))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			m := letter(0, "ann@example.net")
			if tt.body != nil {
				m.Body = tt.body(cancel)
			}
			receipt, err := newClient(t, server.Config(), journal{archive}.interceptor()).Send(ctx, m)
			wantOutcomes(t, receipt, tt.want)
			if !errors.Is(err, tt.is) {
				t.Errorf("got %v", err)
			}
			if n := len(server.Messages()); n > 0 {
				t.Errorf("the server got %d messages", n)
			}
			wantFiles(t, archive, 0)
		})
	}
}

// Somebody may have got it: that is what an archive is for.
func TestJournal_keepsWhatIsInDoubt(t *testing.T) {
	script := smtptest.NewScript(t, `
		S: 220 server.example
		C: EHLO client.example
		S: 250 server.example
		C: MAIL FROM:<shop@example.com>
		S: 250 ok
		C: RCPT TO:<ann@example.net>
		S: 250 ok
		C: DATA
		S: 354 go on
		CONTENT
		CLOSE
	`, smtptest.Options{})
	archive := folder(t.TempDir())
	receipt, _ := newClient(t, script.Config(), journal{archive}.interceptor()).Send(t.Context(), letter(0, "ann@example.net"))
	wantOutcomes(t, receipt, core.Unknown)
	wantFiles(t, archive, 2)
}
