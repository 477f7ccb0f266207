package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
)

// captureTo returns a configuration that leads to a folder.
func captureTo(f folder) core.Config {
	return core.Config{Endpoint: "capture://" + filepath.ToSlash(string(f)), Transports: []core.Transport{capture{}}}
}

func proveCapture(t *testing.T, change func(*core.Config)) {
	staging := folder(t.TempDir())
	config := captureTo(staging)
	change(&config)
	var want []kept
	for _, r := range sendAll(t, newClient(t, config), func(n int) *core.Message { return letter(n, "ann@example.net", "bob@example.net") }) {
		wantOutcomes(t, r.Receipt, core.Accepted, core.Accepted)
		want = append(want, kept{
			envelope{"shop@example.com", []string{"ann@example.net", "bob@example.net"}},
			fmt.Sprintf("Subject: number %d\r\n\r\n.\r\nHello.\r\n", r.Index),
		})
	}
	got, err := staging.read()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]kept{got, want} {
		slices.SortFunc(list, func(a, b kept) int { return strings.Compare(a.content, b.content) })
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the folder has %v", got)
	}
}

func TestCapture_refusesWhatIsNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"capture://host/folder":        "write it as capture:///folder",
		"capture:":                     "write it as capture:///folder",
		"capture:///nonexistent/place": "it names no folder",
		"capture://" + file:            "it names no folder",
	} {
		if _, err := core.NewClient(core.Config{Endpoint: url, Transports: []core.Transport{capture{}}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}

// A body that breaks off ends its connection, and never gets its name.
func TestCapture_whatIsNotWholeIsNotThere(t *testing.T) {
	staging := folder(t.TempDir())
	client := newClient(t, captureTo(staging))
	m := letter(0, "ann@example.net")
	m.Body = core.Reader(breaksOff())
	if _, err := client.Send(t.Context(), m); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if list, err := staging.read(); len(list) > 0 || err != nil {
		t.Errorf("there is %v, %v", list, err)
	}
}

func TestCapture_aFolderThatIsGoneDefersTheMessage(t *testing.T) {
	staging := folder(filepath.Join(t.TempDir(), "staging"))
	if err := os.Mkdir(string(staging), 0o700); err != nil {
		t.Fatal(err)
	}
	client := newClient(t, captureTo(staging))
	if err := os.Remove(string(staging)); err != nil {
		t.Fatal(err)
	}
	receipt, _ := client.Send(t.Context(), letter(0, "ann@example.net"))
	wantOutcomes(t, receipt, core.Deferred)
}
