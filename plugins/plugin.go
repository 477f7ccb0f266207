package plugins

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/remote"
	"github.com/postrider/postrider/plugins/internal/wire"
)

// Error is a failure of a plugin: which one, and what happened. In what a plugin's
// mechanism or interceptor returns it is the cause of a temporary [*core.Error].
type Error = remote.Error

// Why a plugin failed, for [errors.Is].
var (
	// ErrDown: there is no process just now. The call was not made.
	ErrDown = errors.New("it is not running")
	// ErrEnded: the process ended during the call.
	ErrEnded = errors.New("its process ended")
	// ErrLate: there was no answer in time.
	ErrLate = errors.New("no answer in time")
	// ErrBroken: what it says is not what the protocol has.
	ErrBroken = remote.ErrBroken
)

// Plugin is a plugin that was started. It is safe for concurrent use.
type Plugin struct {
	config  Config
	name    string
	about   *wire.Description // of the first process of all
	lines   *lineLog
	current atomic.Pointer[generation] // nil while it is down

	suspected chan struct{}
	enabled   chan struct{}

	*run // another one with each Reopen, under mu

	mu     sync.Mutex
	status Status
}

// run is the time from Start or Reopen to Close.
type run struct {
	life    context.Context // ends with Close
	end     context.CancelFunc
	closing sync.Once
	ask     context.Context // how long a process has to end, from the end of life
	closed  chan struct{}
	err     error // of closing, from when closed is closed

	// Of the goroutine that starts the processes.
	folder      *folder
	generations int
}

func newRun() *run {
	r := &run{closed: make(chan struct{})}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// Start verifies and starts a plugin, and returns when that can be used. ctx is for
// that; afterwards the plugin runs until Close.
//
// The error is a [*core.Error] of the stage config. It is temporary if the plugin
// did not serve in time, or its process ended, and local otherwise: the
// configuration, or the binary, has to be changed first. Nothing is left running
// then.
func Start(ctx context.Context, config Config) (*Plugin, error) {
	config, err := config.settings()
	if err != nil {
		return nil, err
	}
	p := &Plugin{
		config: config, name: config.Label(), lines: newLineLog(config.Log.With("plugin", config.Label())),
		suspected: make(chan struct{}, 1), enabled: make(chan struct{}, 1),
		run: newRun(),
	}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Reopen starts a plugin again that was closed, as Start does, and with the same
// errors. It must be the same as before. What was had of it before, its mechanisms
// and the rest, works again.
//
// So a program can see what a plugin has before it wants it to run: it starts the
// plugin, closes it, and opens it again later.
func (p *Plugin) Reopen(ctx context.Context) error {
	p.mu.Lock()
	select {
	case <-p.closed:
	default:
		p.mu.Unlock()
		return configError(p.name, errors.New("it is not closed, and cannot be opened again"), "")
	}
	p.run = newRun()
	p.mu.Unlock()
	return p.open(ctx)
}

// open begins a run. It leaves nothing running if it fails.
func (p *Plugin) open(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.life, func() { cancel(errClosed) })()
	g, err := p.first(ctx)
	if err != nil {
		err = p.startError(ctx, err)
		p.end()
		p.set(Status{State: Closed, Err: err})
		close(p.closed)
		return err
	}
	if p.about == nil {
		p.about = g.about
	}
	p.ready(g)
	go p.supervise(g)
	return nil
}

// errClosed is that Close was called while the plugin was opened again.
var errClosed = fmt.Errorf("it was closed: %w", context.Canceled)

// first makes the folder, the copy of the binary, and the first process of it.
func (p *Plugin) first(ctx context.Context) (_ *generation, err error) {
	if p.folder, err = newFolder(p.config.RuntimeDir); err != nil {
		return nil, fmt.Errorf("the private folder in Config.RuntimeDir: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.folder.remove())
		}
	}()
	if err := copyBinary(ctx, &p.config, p.folder.binary()); err != nil {
		return nil, err
	}
	p.set(Status{State: Starting})
	g, err := p.launch(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case p.config.Name != "" && g.about.Name != p.config.Name:
		err = fmt.Errorf("%w: it calls itself %s, and not %s", ErrBroken, g.about.Name, p.config.Name)
	case p.about != nil:
		err = p.unchanged(g)
	}
	if err != nil {
		return nil, errors.Join(err, g.kill(nil))
	}
	return g, nil
}

// startError is the error of Start.
func (p *Plugin) startError(ctx context.Context, err error) error {
	e := configError(p.name, err, "")
	switch {
	case ctx.Err() != nil:
		e.Class = core.Temporary
		e.Err = &Error{Plugin: p.name, Err: fmt.Errorf("while it was started: %w", context.Cause(ctx))}
	case errors.Is(err, ErrLate), errors.Is(err, ErrEnded):
		e.Class, e.Hint = core.Temporary, "see what the plugin logs, at the level info if it has no logger"
	case errors.Is(err, ErrUnsafe):
		e.Hint = "have it belong to root or to the user of this process, and let nobody else write there: chmod go-w"
	case errors.Is(err, ErrHandshake):
		e.Hint = "is it a plugin? It may print nothing on its standard output before it serves: see its log"
	case errors.Is(err, ErrChecksum):
		e.Hint = "install the binary that was declared, or declare this one"
	case errors.Is(err, fs.ErrPermission) && errors.Is(err, errNotRun):
		e.Hint = "have Config.RuntimeDir be a folder from which programs can be run, not one that is mounted noexec"
	}
	return e
}

// About is what a plugin says of itself.
type About struct {
	// Name and Version are its own.
	Name, Version string
	// Mechanisms are the names of its mechanisms, and Signers those of its keys, in
	// alphabetical order.
	Mechanisms, Signers []string
	// Transports are the URL schemes that it has a transport for, and Interceptors
	// the names of its interceptors, in alphabetical order.
	Transports, Interceptors []string
}

// About returns what the plugin says of itself.
func (p *Plugin) About() About {
	return About{
		Name: p.about.Name, Version: p.about.Version,
		Mechanisms: slices.Sorted(maps.Keys(p.about.Mechanisms)), Signers: slices.Sorted(maps.Keys(p.about.Signers)),
		Transports: slices.Clone(p.about.Transports), Interceptors: slices.Clone(p.about.Interceptors),
	}
}

// String names the plugin.
func (p *Plugin) String() string { return "plugin " + p.name }

// GoString is String, for %#v.
func (p *Plugin) GoString() string { return p.String() }

// Mechanism returns a mechanism of the plugin. It may be used as long as the plugin
// is not closed, over all restarts.
//
// It has what the mechanism in the plugin has: KeepsSecret, Check, CheckPeer,
// Expires, Refused. A failure of the plugin is a [*core.Error] of the stage auth,
// temporary, that holds an [*Error]; no AUTH is tried twice because of it, and no
// other mechanism chosen. What the mechanism itself returns as an error keeps its
// class, its hint, and of its kinds those of package core.
//
// Each step of an AUTH costs one round trip to the plugin. It ends in the plugin
// when the session closes it.
//
// The error says that the plugin has no such mechanism.
func (p *Plugin) Mechanism(name string) (core.Mechanism, error) {
	about, ok := p.about.Mechanisms[name]
	if !ok {
		return nil, configError(p.name, fmt.Errorf("it has no mechanism %.70q", name), "it has: "+strings.Join(p.About().Mechanisms, " "))
	}
	return remote.NewMechanism(link{p}, name, about), nil
}

// Signer returns a key of the plugin. It may be used as long as the plugin is not
// closed, over all restarts. It signs with RSA, ECDSA and Ed25519, a digest of
// SHA-1 or SHA-2, and takes no random octets from its caller.
//
// A failure of the plugin is a [*core.Error] of the stage content, temporary, that
// holds an [*Error]. The error of Signer itself says that the plugin has no such
// key.
func (p *Plugin) Signer(id string) (crypto.Signer, error) {
	public, ok := p.about.Signers[id]
	if !ok {
		return nil, configError(p.name, fmt.Errorf("it has no signer %.70q", id), "it has: "+strings.Join(p.About().Signers, " "))
	}
	return remote.NewSigner(link{p}, id, public), nil
}

// Transport returns the transport of the plugin for a URL scheme. It may be used as
// long as the plugin is not closed, over all restarts; a connection ends with the
// process.
//
// The plugin reads the URL when a client is made, opens the connections, and carries
// their octets. Their deadlines are the host's, and so is TLS. As with a mechanism's
// KeepsSecret it is believed when it says that its streams are protected or local.
//
// A failure of the plugin is a [*core.Error], temporary, that holds an [*Error]: of
// the stage config when a URL is read, and connect when a connection is opened. One
// that breaks off has the [*Error] as its reason.
//
// The error of Transport itself says that the plugin has no such transport.
func (p *Plugin) Transport(scheme string) (core.Transport, error) {
	if !slices.Contains(p.about.Transports, scheme) {
		return nil, configError(p.name, fmt.Errorf("it has no transport for %.70q", scheme), "it has: "+strings.Join(p.about.Transports, " "))
	}
	return remote.NewTransport(link{p}, scheme), nil
}

// Interceptor returns an interceptor of the plugin, which admits, refuses and changes
// envelopes, and puts header fields in front of messages. It may be used as long as
// the plugin is not closed, over all restarts. Its Name is the plugin's and its own,
// with a slash between them.
//
// It belongs behind what observes, and in front of what tries again and of what
// signs: the plugin is asked once for each time that its Delivery function runs, and
// behind another attempt that is an error. Nothing is opened before the plugin has
// answered. The caller's context and Config.CallTimeout bound that, and bound also
// how long the plugin may take to hear what became of the message; Config.Log has it
// if it could not be told, which changes no outcome.
//
// A failure of the plugin is a [*core.Error] of the stage policy, temporary, that
// holds an [*Error]: nothing is sent without an answer. What the interceptor itself
// says against a message or a recipient keeps its class and its hint: temporary is
// Deferred, all else Refused. An envelope that is too large to be shown to the plugin
// is an error of the class local.
//
// The error says that the plugin has no such interceptor.
func (p *Plugin) Interceptor(name string) (core.Interceptor, error) {
	if !slices.Contains(p.about.Interceptors, name) {
		return core.Interceptor{}, configError(p.name, fmt.Errorf("it has no interceptor %.70q", name), "it has: "+strings.Join(p.about.Interceptors, " "))
	}
	return remote.NewInterceptor(link{p}, p.about.Name, name, p.lines.log), nil
}

// Close ends the plugin: what is being asked may still be answered until ctx ends,
// or for Config.StopTimeout if ctx has no deadline. Then the process is killed. It
// returns when the process is gone, and says whether it had to be killed. To call
// it again waits for the same.
func (p *Plugin) Close(ctx context.Context) error {
	p.mu.Lock()
	r := p.run
	p.mu.Unlock()
	r.closing.Do(func() {
		r.ask = ctx
		r.end()
	})
	<-r.closed
	return r.err
}

// link is the way to the process that there is.
type link struct{ plugin *Plugin }

// Call implements remote.Link.
func (l link) Call() (remote.Call, error) {
	if g := l.plugin.current.Load(); g != nil {
		return g, nil
	}
	s := l.plugin.Status()
	what := s.State.String()
	switch s.State {
	case Ready:
		what = "its process has just ended"
	case Disabled:
		what = "disabled until Enable is called"
	}
	if s.Err == nil {
		return nil, fmt.Errorf("%w: %s", ErrDown, what)
	}
	return nil, fmt.Errorf("%w: %s, because of this: %w", ErrDown, what, s.Err)
}

// Plugin implements remote.Link.
func (l link) Plugin() string { return l.plugin.name }

// Timeout implements remote.Link.
func (l link) Timeout() time.Duration { return l.plugin.config.CallTimeout }
