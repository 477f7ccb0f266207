package core_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A team that wants a complete client and nothing else gets one: whatever
// package core imports, on any system, and what that imports in turn.
func TestImports(t *testing.T) {
	const module = "github.com/postrider/postrider/"
	for _, tt := range []struct {
		path    string
		allowed []string // beside the standard library
	}{
		{module + "core", []string{"golang.org/x/", module + "core/internal/wire"}},
		{module + "core/internal/wire", nil},
	} {
		for _, system := range []string{"linux", "darwin", "windows", "freebsd", "plan9", "js/wasm"} {
			t.Run(tt.path[len(module):]+" on "+system, func(t *testing.T) {
				for _, path := range dependencies(t, tt.path, system) {
					if path == tt.path {
						continue
					}
					allowed := false
					for _, prefix := range tt.allowed {
						allowed = allowed || strings.HasPrefix(path, prefix)
					}
					if !allowed {
						t.Errorf("%s is imported", path)
					}
				}
			})
		}
	}
}

// dependencies returns the packages that a package needs and that are not of the
// standard library, itself included.
func dependencies(t *testing.T, path, system string) []string {
	goos, goarch, ok := strings.Cut(system, "/")
	if !ok {
		goarch = "amd64"
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", path)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	list := strings.Fields(string(out))
	if len(list) == 0 {
		t.Fatalf("%s lists nothing", cmd)
	}
	return list
}
