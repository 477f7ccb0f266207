package plugins_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/plugins"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// A host that is killed takes the plugin with it, also one that is stopped.
func TestHost_isKilled(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopped %v", stopped), func(t *testing.T) {
			runtime, err := os.MkdirTemp("", "pp")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(runtime) }()
			host := exec.Command(os.Args[0])
			host.Env = []string{modeVariable + "=host", "TEST_RUNTIME=" + runtime}
			host.Stderr = os.Stderr
			in, err := host.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = in.Close() }()
			out, err := host.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := host.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Fscan(out, &pid); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(fd) }()
			if stopped {
				kill(t, pid, unix.SIGSTOP)
			}
			kill(t, host.Process.Pid, unix.SIGKILL)
			_ = host.Wait() // "signal: killed"
			ended, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
			if ended != 1 || err != nil {
				kill(t, pid, unix.SIGKILL)
				t.Errorf("the plugin lives on: %v", err)
			}
		})
	}
}

func TestPlugin_leavesAChildBehind(t *testing.T) {
	for _, tt := range []struct {
		rule, challenge string
		lives           bool
	}{
		{"in its process group, it is killed too", "fork", false},
		{"that went away with the pipes, it is not waited for", "fork-away", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, "well")
			p := f.start(t)
			m := mechanism(t, p)
			f.await(t, plugins.Ready)
			answer, err := say(t.Context(), m, tt.challenge)
			if err != nil {
				t.Fatal(err)
			}
			child, err := strconv.Atoi(answer)
			if err != nil || !alive(child) {
				t.Fatalf("child %s: %v", answer, err)
			}
			kill(t, p.Status().PID, unix.SIGKILL)
			f.await(t, plugins.Ready)
			if alive(child) != tt.lives {
				t.Errorf("it lives: %v", !tt.lives)
			}
			if tt.lives {
				end(t, child)
			}
			works(t, m)
		})
	}
}

// end kills a process, and waits until it is gone.
func end(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	kill(t, pid, unix.SIGKILL)
	if ended, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); ended != 1 || err != nil {
		t.Errorf("process %d is not gone: %v", pid, err)
	}
}

// alive reports whether there is a process, and not only what nobody has waited for.
func alive(pid int) bool {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil
}

// What a process that crashes leaves behind is gone before the next one is there.
func TestRestart_noSocketIsLeft(t *testing.T) {
	f := newFixture(t, "well")
	f.start(t)
	sockets := func() []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(f.config.RuntimeDir, "postrider-*", "*", "plugin*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	s := f.await(t, plugins.Ready)
	before := sockets()
	kill(t, s.PID, unix.SIGKILL)
	f.await(t, plugins.Ready)
	if after := sockets(); len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		t.Errorf("%v, and then %v", before, after)
	}
}

// Who can reach the socket and is not the host gets no answer.
func TestSocket_isForTheHostAlone(t *testing.T) {
	f := newFixture(t, "well")
	f.start(t)
	sockets, err := filepath.Glob(filepath.Join(f.config.RuntimeDir, "postrider-*", "*", "plugin*"))
	if err != nil || len(sockets) != 1 {
		t.Fatal(sockets, err)
	}
	conn, err := grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", sockets[0])
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	if _, err := pluginv1.NewPluginServiceClient(conn).Describe(ctx, &pluginv1.DescribeRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
