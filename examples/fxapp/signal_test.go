//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// awaitLine returns the first line with a text.
func awaitLine(t *testing.T, r *bufio.Reader, text string) string {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			t.Fatalf("no line with %q: %v", text, err)
		}
	}
}

// The program ends as what runs services expects it: with status 0, when the
// message that is under way has its answer.
func TestSignal_theProgramEndsGracefully(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			arrived, released := make(chan struct{}), make(chan struct{})
			server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
				close(arrived)
				<-released
				return nil
			}})
			program, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program)
			cmd.Env = append(os.Environ(), programArgs+"=-listen 127.0.0.1:0 -endpoint "+server.URL())
			output, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stderr := bufio.NewReader(output)
			_, address, _ := strings.Cut(awaitLine(t, stderr, "msg=listening"), "http://")
			address, _, _ = strings.Cut(address, "/")
			var client sync.WaitGroup
			client.Go(func() {
				got, err := send(t, &api{address: address}, "Hi!", "ann@example.net")
				if err != nil || len(got.Recipients) != 1 || got.Recipients[0].Outcome != "accepted" {
					t.Errorf("got %+v, %v", got, err)
				}
			})
			<-arrived
			if err := cmd.Process.Signal(signal); err != nil {
				t.Error(err)
			}
			awaitLine(t, stderr, "msg=stopping")
			close(released)
			client.Wait()
			if rest, err := io.ReadAll(stderr); err != nil || strings.Contains(string(rest), "fxapp:") {
				t.Errorf("%s, %v", rest, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
