//go:build unix

package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/sdk"
)

// policy is an interceptor that does what the local part of the reverse-path says.
type policy struct{}

func (policy) Admit(ctx context.Context, m *sdk.Message) (changes sdk.Changes, err error) {
	what, _, _ := strings.Cut(m.From, "@")
	switch what {
	case "crash":
		os.Exit(3)
	case "panic":
		panic("oh")
	case "hang":
		sdk.Logger().Info("hanging")
		select {}
	case "late":
		<-ctx.Done()
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-ctx.Done() // it may take a moment until it has stopped
	case "large":
		changes.Header = []sdk.Field{{Name: "X-Large", Value: strings.Repeat("x ", 50<<20)}}
	case "lines":
		changes.Header = []sdk.Field{{Name: "X-Lines", Value: "a\r\nBcc: eve@example.net"}}
	case "nobody":
		changes.Redirect = map[int]string{len(m.To): "eve@example.net"}
	case "injection":
		changes.Redirect = map[int]string{0: "bob@example.net>\r\nRCPT TO:<eve@example.net"}
	case "defer":
		err = &core.Error{Class: core.Temporary, Hint: "come again", Err: errors.New("the quota is used up")}
	case "refuse":
		err = errors.New("not these")
	case "refuse-second":
		changes.Refuse = map[int]error{1: errors.New("not this one")}
	case "change":
		changes.From = new("bounces@example.com")
		changes.Redirect = map[int]string{0: "alias@example.net"}
		changes.Header = []sdk.Field{{Name: "X-Policy", Value: fmt.Sprintf("%d recipients, %d octets", len(m.To), m.Size)}}
	}
	return changes, err
}

func (policy) Report(ctx context.Context, r *sdk.Report) {
	for _, one := range r.Results {
		switch what, _, _ := strings.Cut(one.Address, "@"); what {
		case "report-crash":
			os.Exit(3)
		case "report-hang":
			sdk.Logger().Info("the report hangs")
			<-ctx.Done()
		case "report-panic":
			panic("oh")
		}
		sdk.Logger().Info("reported", "outcome", one.Outcome.String(), "code", one.Code, "text", one.Text)
	}
}

// quiet admits everything, and does nothing with what it hears.
type quiet struct{}

func (quiet) Admit(context.Context, *sdk.Message) (sdk.Changes, error) { return sdk.Changes{}, nil }

func (quiet) Report(context.Context, *sdk.Report) {}
