package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"time"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
)

// mostOctets is how large a request may be.
const mostOctets = 10 << 20

// letter is what a request has. The body is header, empty line and text.
type letter struct {
	From string   `json:"from"`
	To   []string `json:"to"`
	Body string   `json:"body"`
}

// answer is what became of a letter. It is 200 whenever there are outcomes.
type answer struct {
	QueueID    string    `json:"queue_id,omitempty"`
	Recipients []outcome `json:"recipients"`
}

// outcome is what became of a recipient.
type outcome struct {
	Address string `json:"address"`
	Outcome string `json:"outcome"`
	Reply   string `json:"reply,omitempty"`
	Error   string `json:"error,omitempty"`
}

// api is the HTTP server.
type api struct {
	client   *core.Client
	log      *slog.Logger
	shutdown fx.Shutdowner
	address  string // to listen on; when started, the one that was found

	http   *http.Server
	served chan struct{} // closed when it no longer listens

	// work is the context of all messages. A request's own ends when whoever has
	// made it hangs up, which is no reason to leave a message in doubt.
	work    context.Context
	endWork context.CancelFunc
}

// newAPI returns the HTTP server, which fx starts and stops. It needs the client,
// so it was constructed later: fx stops it before the client.
func newAPI(l fx.Lifecycle, shutdown fx.Shutdowner, s settings, client *core.Client, log *slog.Logger) *api {
	a := &api{client: client, log: log, shutdown: shutdown, address: s.listen, served: make(chan struct{})}
	a.work, a.endWork = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /send", a.send)
	a.http = &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
	}
	l.Append(fx.StartStopHook(a.start, a.stop))
	return a
}

func (a *api) start(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", a.address)
	if err != nil {
		return err
	}
	a.address = listener.Addr().String()
	a.log.Info("listening", "url", "http://"+a.address+"/send")
	go func() {
		defer close(a.served)
		if err := a.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the HTTP server has ended", "error", err)
			_ = a.shutdown.Shutdown(fx.ExitCode(1)) // it fails if that is under way already
		}
	}()
	return nil
}

// stop takes no more requests and waits until all have their answer. If three
// quarters of the time do not suffice, those that still wait get what is known by
// then; the rest of the time is for the answers, and for the client.
func (a *api) stop(ctx context.Context) error {
	a.log.Info("stopping")
	early := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		early, cancel = context.WithTimeout(ctx, time.Until(deadline)*3/4)
		defer cancel()
	}
	err := a.http.Shutdown(early)
	a.endWork()
	if err != nil {
		err = a.http.Shutdown(ctx)
	}
	if err != nil {
		err = errors.Join(err, a.http.Close())
	}
	<-a.served
	return err
}

// send answers POST /send.
func (a *api) send(w http.ResponseWriter, r *http.Request) {
	// Whoever can reach this address can send mail. A page in a browser cannot: it
	// cannot pass for this host, nor send this type to another one unasked.
	if r.Host != a.address {
		http.Error(w, "this is "+a.address, http.StatusMisdirectedRequest)
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		http.Error(w, "send application/json", http.StatusUnsupportedMediaType)
		return
	}
	var in letter
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostOctets))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		http.Error(w, fmt.Sprintf("not a letter with from, to and body: %v", err), http.StatusBadRequest)
		return
	}
	m := &core.Message{From: in.From, To: core.Recipients(in.To...), Body: core.String(in.Body)}
	if err := m.Check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	receipt, _ := a.client.Send(a.work, m) // each outcome has its error
	out := answer{QueueID: receipt.QueueID()}
	for _, r := range receipt.Recipients {
		o := outcome{Address: r.Address, Outcome: r.Outcome.String()}
		if r.Reply.Code != 0 {
			o.Reply = r.Reply.String()
		}
		if r.Err != nil {
			o.Error = r.Err.Error()
		}
		out.Recipients = append(out.Recipients, o)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // it fails if whoever asked has gone
}
