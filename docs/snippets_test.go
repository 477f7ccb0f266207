package docs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every Go snippet of the README and of the pages beside this file is a whole
// file, and compiles.
func TestSnippetsCompile(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	// The files are laid over the tree for the compiler alone: nothing is
	// written into it.
	overlay := map[string]string{}
	var packages []string
	temp := t.TempDir()
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for n, code := range snippets(string(text)) {
			if !strings.HasPrefix(code, "package ") {
				t.Errorf("%s, snippet %d does not begin with a package clause", page, n+1)
			}
			dir := fmt.Sprintf("snippet_%s_%d", strings.TrimSuffix(filepath.Base(page), ".md"), n+1)
			file := filepath.Join(temp, dir+".go")
			if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay[filepath.Join(root, "docs", dir, "snippet.go")] = file
			packages = append(packages, "./docs/"+dir)
		}
	}
	if len(packages) < 5 {
		t.Fatalf("only %d snippets were found", len(packages))
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(overlayFile, list, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", append([]string{"build", "-overlay", overlayFile, "-o", filepath.Join(temp, "out") + "/"}, packages...)...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// snippets returns the Go code blocks of a page.
func snippets(page string) []string {
	var list []string
	for _, block := range strings.Split(page, "```go\n")[1:] {
		code, _, _ := strings.Cut(block, "```")
		list = append(list, code)
	}
	return list
}

// Links between the pages lead somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "](")[1:] {
			target, _, _ := strings.Cut(part, ")")
			target, _, _ = strings.Cut(target, "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), target)); err != nil {
				t.Errorf("%s links to %s: %v", page, target, err)
			}
		}
	}
}
