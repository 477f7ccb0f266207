//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestPluginList(t *testing.T) {
	nothingLeft := private(t)
	path, sum := self(t)
	zeros := strings.Repeat("0", 64)
	r := mailer(t, "plugin", "list", "-json", "-config", declaring(t, strings.Join([]string{
		plugin(t, "well", fmt.Sprintf(`"sha256":%q`, strings.ToUpper(sum))), plugin(t, "key"), plugin(t, "tunnel"),
		plugin(t, "well", fmt.Sprintf(`"sha256":%q`, zeros)), plugin(t, "dies"), plugin(t, "junk"), `"/nonexistent/plugin"`,
		plugin(t, "well", `"name":"other"`), plugin(t, "well", `"use":{"signers":["key"]}`), plugin(t, "well", `"use":{"signers":["x"]}`),
		plugin(t, "silent", `"start-timeout":"200ms"`),
	}, ",")))
	r.ends(t, 78, "7 of 11 plugins cannot be used; the first: ")
	found := r.found(t)
	if len(found) != 11 {
		t.Fatalf("got %s", r.stdout)
	}
	for n, want := range []string{
		"ready, matches, mechanisms [X-TEST], signers [key], transports []",
		"ready, not_declared, mechanisms [], signers [example.com], transports []",
		"ready, not_declared, mechanisms [], signers [], transports [test+tcp]",
		"failed, differs, mechanisms [], signers [], transports [], local: the binary does not have the checksum that was declared: " + path + " has " + sum + " (install the binary that was declared; or, if",
		"failed, not_declared, mechanisms [], signers [], transports [], temporary: its process ended before its handshake: exit status 7 (see what it logs",
		"failed, not_declared, mechanisms [], signers [], transports [], local: it is no plugin of this kind: what it prints first is not a handshake (name a program",
		"failed, unknown, mechanisms [], signers [], transports [], local: lstat /nonexistent: no such file or directory (install it there",
		"failed, not_declared, mechanisms [], signers [], transports [], local: it breaks the protocol: it calls itself test, and not other (declare the name",
		"ready, not_declared, mechanisms [], signers [key], transports []",
		"failed, not_declared, mechanisms [X-TEST], signers [key], transports [], local: it has no signer x, which is to be used (it has: key)",
		"failed, not_declared, mechanisms [], signers [], transports [], temporary: no answer in time: it does not serve after 200ms",
	} {
		f := found[n]
		got := fmt.Sprintf("%s, %s, mechanisms %v, signers %v, transports %v", f.State, f.Checksum, f.Mechanisms, f.Signers, f.Transports)
		if f.Error != nil {
			_, text, _ := strings.Cut(f.Error.Text, ": ")
			got += ", " + f.Error.Class + ": " + text
		}
		if !strings.HasPrefix(got, want) || f.Path != path && n != 6 || f.Checksum != "unknown" && f.SHA256 != sum {
			t.Errorf("%d\ngot  %s\nwant %s", n, got, want)
		}
	}
	// The word of a flag, and the text for people.
	r = mailer(t, "plugin", "list", "-plugins", path+"@sha256:"+zeros)
	r.ends(t, 78, "declare the checksum that it has")
	if !strings.Contains(r.stdout, ": failed\n") || !strings.Contains(r.stdout, "  checksum     differs\n") || !strings.Contains(r.stdout, "  problem      ") {
		t.Errorf("for people: %s", r.stdout)
	}
	r = mailer(t, "plugin", "list", "-config", declaring(t, plugin(t, "well")))
	r.ends(t, 0)
	if !strings.HasPrefix(r.stdout, "test 1.0: ready\n") || !strings.Contains(r.stdout, "  checksum     not declared\n") {
		t.Errorf("for people: %s", r.stdout)
	}
	mailer(t, "plugin", "list", "-json", "-config", declaring(t, plugin(t, "dies"))).ends(t, 75)
	r = mailer(t, "plugin", "list")
	r.ends(t, 0)
	if r.stdout != "no plugins: none is declared\n" {
		t.Errorf("without any: %s", r.stdout)
	}
	nothingLeft()
}

func TestPluginVerify(t *testing.T) {
	nothingLeft := private(t)
	path, sum := self(t)
	open := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(open, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	// Behind a folder that nobody else may enter it would not matter.
	for folder := filepath.Dir(open); folder != "/tmp"; folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script, text, pipe := file(t, "#!/bin/sh\necho it has no key >&2\nexit 3\n"), file(t, "hello"), filepath.Join(t.TempDir(), "pipe")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o700); err != nil {
		t.Fatal(err)
	}
	mode := func(mode string) string { return pluginMode + "=" + mode }
	for rule, tt := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"0 it is well":                     {[]string{path, "-env", mode("well")}, 0, ""},
		"0 it has that checksum":           {[]string{path, "-env", mode("well"), "-sha256", strings.ToUpper(sum), "-name", "test"}, 0, ""},
		"0 with arguments":                 {[]string{path, "-env", mode("well"), "--", "-key", "x"}, 0, ""},
		"78 another checksum":              {[]string{path, "-env", mode("well"), "-sha256", strings.Repeat("0", 64)}, 78, " has " + sum},
		"78 another name":                  {[]string{path, "-env", mode("well"), "-name", "other"}, 78, "declare the name that it has"},
		"78 no file":                       {[]string{"/nonexistent"}, 78, "no such file"},
		"78 a folder":                      {[]string{"/"}, 78, "name the binary itself"},
		"78 a pipe":                        {[]string{pipe}, 78, "name the binary itself"},
		"78 no program":                    {[]string{text}, 78, "name a program for this machine"},
		"78 no plugin":                     {[]string{path, "-env", mode("junk")}, 78, "it is no plugin of this kind"},
		"78 others can write it":           {[]string{open}, 78, "chmod go-w"},
		"78 it does not end":               {[]string{path, "-env", mode("loyal")}, 78, "it did not end when it was asked to"},
		"75 it ends":                       {[]string{script}, 75, "exit status 3 (see what it logs"},
		"64 no path":                       {nil, 64, "give the PATH"},
		"64 an empty path":                 {[]string{""}, 64, "give the PATH"},
		"64 a checksum that is none":       {[]string{path, "-sha256", "abc"}, 64, "not 64 hexadecimal digits: mailer plugin verify prints it"},
		"64 a name that is none":           {[]string{path, "-name", "a b"}, 64, "the name"},
		"64 a variable that is none":       {[]string{path, "-env", "x"}, 64, `"env"`},
		"64 a variable that is the host's": {[]string{path, "-env", "TMPDIR=x"}, 64, "TMPDIR"},
		"64 a flag of another command":     {[]string{path, "-config", "x"}, 64, "mailer help plugin verify lists"},
		"64 the same flag twice":           {[]string{path, "-name", "a", "-name", "b"}, 64, "it is there twice"},
		"64 nothing behind the command":    {[]string{"-json"}, 64, "give the PATH"},
	} {
		t.Run(rule, func(t *testing.T) {
			r := mailer(t, append([]string{"plugin", "verify"}, tt.args...)...)
			r.ends(t, tt.status, tt.says)
			switch {
			case tt.status == 64:
				if r.stdout != "" {
					t.Errorf("output %s", r.stdout)
				}
			case tt.status == 0:
				for _, want := range []string{"test 1.0: ready", "sha256       " + sum, "mechanisms   X-TEST", "signers      key", `declare it   {"path":"` + path} {
					if !strings.Contains(r.stdout, want) {
						t.Errorf("no %s in %s", want, r.stdout)
					}
				}
			case strings.Contains(r.stdout, "declare it") || !strings.Contains(r.stdout, "problem"):
				t.Errorf("output %s", r.stdout)
			}
		})
	}
	r := mailer(t, "plugin", "verify", "-json", path, "-env", mode("logs"))
	r.ends(t, 0)
	if f := r.found(t); len(f) != 1 || f[0].SHA256 != sum || strings.Join(f[0].Log, "\n") != `level=WARN msg="the vault is slow" seconds=3` {
		t.Errorf("got %s", r.stdout)
	}
	if r := mailer(t, "plugin", "verify", script); !strings.Contains(r.stdout, "line=\"it has no key\"") {
		t.Errorf("what it prints is not shown: %s", r.stdout)
	}
	// What it prints can be declared as it is.
	r = mailer(t, "plugin", "verify", path, "-env", mode("well"), "--", "an argument")
	_, declaration, _ := strings.Cut(r.stdout, "declare it   ")
	r = mailer(t, "plugin", "list", "-json", "-config", declaring(t, strings.TrimSpace(declaration)))
	r.ends(t, 0)
	if f := r.found(t); f[0].Checksum != "matches" {
		t.Errorf("got %s", r.stdout)
	}
	// A path is that of the shell.
	cmd := command(t, "plugin", "verify", "-env", mode("well"), filepath.Base(path))
	cmd.Dir = filepath.Dir(path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	nothingLeft()
}
