// Corp-policy is a plugin that decides who gets mail: it keeps a list of mailboxes
// that do not exist, and learns them from what becomes of messages.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/sdk"
)

func main() {
	file := flag.String("gone", "", "the file that has the mailboxes that do not exist, one a line")
	flag.Parse()
	octets, err := os.ReadFile(*file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		sdk.Logger().Error("the list cannot be read", "error", err)
		os.Exit(1)
	}
	p := &policy{file: *file, gone: make(map[string]bool)}
	for address := range strings.Lines(string(octets)) {
		p.gone[strings.TrimSpace(address)] = true
	}
	sdk.Serve(sdk.Info("corp-policy", "1.0.0"), sdk.Interceptor("recipients", p))
}

// policy is the interceptor. It knows nothing of plugins, and is tested as a value.
type policy struct {
	file string

	mu   sync.Mutex
	gone map[string]bool
}

var errGone = errors.New("there is no such mailbox, as a server has said before")

// Admit refuses recipients who are on the list, and has mail for the sales go to
// whoever that is.
func (p *policy) Admit(_ context.Context, m *sdk.Message) (sdk.Changes, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes := sdk.Changes{
		Redirect: make(map[int]string), Refuse: make(map[int]error),
		Header: []sdk.Field{{Name: "X-Policy", Value: "corp-policy 1.0.0"}},
	}
	for i, to := range m.To {
		switch address := strings.ToLower(to.Address); {
		case p.gone[address]:
			changes.Refuse[i] = &core.Error{Class: core.Permanent, Err: errGone, Hint: "take it off your list"}
		case address == "sales@corp.example":
			changes.Redirect[i] = "carol@corp.example"
		}
	}
	return changes, nil
}

// Report puts mailboxes on the list of which a server says that they do not exist
// (RFC 3463 §3.2).
func (p *policy) Report(_ context.Context, r *sdk.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range r.Results {
		if address := strings.ToLower(one.Address); one.Outcome == core.Refused && one.Enhanced == (core.EnhancedCode{5, 1, 1}) && !p.gone[address] {
			p.gone[address] = true
			if err := p.write(address); err != nil {
				sdk.Logger().Error("the list cannot be written", "error", err)
			}
		}
	}
}

// write adds a line to the file, which the next process reads.
func (p *policy) write(address string) error {
	f, err := os.OpenFile(p.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(address + "\n")
	return errors.Join(err, f.Close())
}
